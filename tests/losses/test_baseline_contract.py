"""What every baseline keeps to: all parameters learn, awkward batches are survived, a state goes on bit for bit."""

import copy
import inspect

import pytest
import torch

from pfml.losses import LOSSES, build_loss
from tests.losses.baseline_cases import BASELINES, CLASSES, DIM, awkward_batches, call, make, random_batch

OWN = [name for name in BASELINES if inspect.isclass(LOSSES[name])]
DRAWING = {"margin", "margin_per_class", "hier", "ms_das"}


@pytest.mark.parametrize("name", BASELINES)
def test_every_parameter_receives_gradient_within_a_few_batches(name):
    loss, reached = make(name), set()
    for seed in range(4):
        value, grad, parameters = call(loss, *random_batch(seed))
        assert value.isfinite() and grad.isfinite().all() and grad.abs().sum() > 0
        reached |= {key for key, gradient in parameters.items() if gradient.abs().sum() > 0}
    assert reached == {key for key, _ in loss.named_parameters()}


@pytest.mark.parametrize("case", awkward_batches())
@pytest.mark.parametrize("name", BASELINES)
def test_awkward_batches_have_finite_values_and_gradients(name, case):
    loss = make(name)
    for _ in range(3):  # the second and third find a memory
        value, grad, parameters = call(loss, *awkward_batches()[case])
        assert value.ndim == 0 and value.isfinite(), case
        assert grad is None or grad.isfinite().all(), case
        assert all(gradient.isfinite().all() for gradient in parameters.values()), case


@pytest.mark.parametrize("name", BASELINES)
def test_a_copy_of_the_state_goes_on_bit_for_bit_whatever_the_global_generator(name):
    loss = make(name)
    for seed in range(3):
        call(loss, *random_batch(seed))
    resumed = make(name, seed=1)
    resumed.load_state_dict(copy.deepcopy(loss.state_dict()))
    for seed in range(3, 6):
        torch.manual_seed(7)
        before = torch.random.get_rng_state()
        value, grad, parameters = call(loss, *random_batch(seed))
        assert torch.equal(torch.random.get_rng_state(), before), "the global generator is left alone"
        torch.manual_seed(8)
        again, grad_again, parameters_again = call(resumed, *random_batch(seed))
        assert torch.equal(value, again) and torch.equal(grad, grad_again)
        assert all(torch.equal(parameters[key], parameters_again[key]) for key in parameters)
    for (key, left), (_, right) in zip(loss.state_dict().items(), resumed.state_dict().items()):
        assert torch.equal(left, right), key


@pytest.mark.parametrize("name", BASELINES)
def test_two_calls_differ_only_where_something_is_drawn_or_remembered(name):
    loss, batch = make(name), random_batch(1)
    first, second = call(loss, *batch)[0], call(loss, *batch)[0]
    assert torch.equal(first, second) == (name not in DRAWING | {"prism"})


@pytest.mark.parametrize("name", sorted(DRAWING))
def test_draws_differ_between_seeds_and_steps(name):
    batch = random_batch(1)
    one, other = make(name), make(name, seed=0)
    assert torch.equal(call(one, *batch)[0], call(other, *batch)[0]), "same seed"
    with torch.no_grad():
        seeds = [m for m in other.modules() if hasattr(m, "seed")]
        assert len(seeds) == 1
        seeds[0].seed += 1
        seeds[0].step.zero_()
    one = make(name)
    assert not torch.equal(call(one, *batch)[0], call(other, *batch)[0]), "another seed"


@pytest.mark.parametrize("name", BASELINES)
def test_bad_batches_are_refused_in_words(name):
    loss, (embeddings, labels) = make(name), random_batch(0)
    for bad, words in [
        ((embeddings[:, :3], labels), "embeddings have shape"),
        ((embeddings, labels[:5]), "labels have shape"),
        ((embeddings, labels + 1), r"labels lie in \[1, 6\]"),
        ((embeddings, labels.float()), "labels are"),
        ((embeddings.log(), labels), "NaN"),
        ((embeddings[:0], labels[:0]), "a batch of 0"),
    ]:
        with pytest.raises(ValueError, match=words):
            loss(*bad)


@pytest.mark.parametrize("name", BASELINES)
def test_batches_whose_shape_fits_nothing_are_refused(name):
    loss, (embeddings, labels) = make(name), random_batch(0)
    for bad in [(embeddings, labels[:5]), (embeddings, labels[:, None]), (embeddings[:, None], labels)]:
        with pytest.raises(ValueError, match=r"labels|embeddings"):
            loss(*bad)


BAD = {
    "proxy_anchor": {"margin": -0.1, "scale": 0.0},
    "proxy_nca": {"scale": -1.0},
    "soft_triple": {"tau": -0.1, "gamma": 0.0, "scale": 0.0, "margin": -0.1, "centers_per_class": 0},
    "multi_similarity": {"alpha": 0.0, "beta": -1.0, "epsilon": -0.1},
    "triplet": {"margin": -0.1, "mining": "semi-hard"},
    "contrastive": {"pos_margin": -0.1, "neg_margin": -1.0},
    "n_pair": {"l2": -1.0},
    "margin": {"beta": 0.0, "upper_cutoff": 0.4},
    "margin_per_class": {"nu": -1.0, "cutoff": 0.0},
    "normalised_softmax": {"temperature": 0.0},
    "cosface": {"margin": -0.1},
    "arcface": {"scale": 0.0},
    "sub_center_arcface": {"centers_per_class": 0},
    "fast_ap": {"bins": 0},
    "snr": {"neg_margin": -1.0},
    "circle": {"scale": -1.0},
    "lifted_structure": {"margin": -1.0, "l2": -1.0},
    "histogram": {"bins": 2.5},
    "proxy_nca_pp": {"temperature": 0.0},
    "hist": {"tau": 0.0, "alpha": -1.0, "hidden": 0, "lambda_s": -1.0, "hgnn_rate": 0.0},
    "hyp": {"c": 0.0, "temperature": -1.0, "clip": 0.0},
    "esphn": {"temperature": 0.0, "mining": "easy"},
    "hier": {"tau": 0.0, "topk": 0, "hierarchy": 1, "hierarchy_rate": -1.0, "margin": -0.1},
    "prism": {"noise_rate": 1.0, "memory": 0, "window": 0, "margin": -0.1, "warmup": -1},
    "ms_das": {"alpha": 0.0, "bank": 0, "produced": -1, "scale_high": 0.5, "shift_scale": -1.0},
    "proxy_gml": {"ratio": 1.5, "proxies_per_class": 0, "weight": -0.1},
    "clustering": {"gamma": -1.0, "rounds": -1},
    "pa_niv": {
        "weight": -1.0,
        "margin": -0.1,
        "scale": 0.0,
        "blocks": -1,
        "depth": 1,
        "width": 0,
        "clamp": 0.0,
        "flow_rate": 0.0,
    },
}


@pytest.mark.parametrize("name, key", [(name, key) for name, settings in BAD.items() for key in settings])
def test_bad_settings_are_refused_by_name(name, key):
    with pytest.raises(ValueError, match=key):
        build_loss(name, CLASSES, DIM, **{key: BAD[name][key]})


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("sizes, key", [((0, DIM), "num_classes"), ((CLASSES, 0), "embedding_dim")])
def test_bad_sizes_are_refused_by_name(name, sizes, key):
    with pytest.raises(ValueError, match=key):
        build_loss(name, *sizes)


@pytest.mark.parametrize("name", BASELINES)
def test_losses_ignore_the_order_of_the_batch(name):
    """Except what a draw or a number inside the class decides."""
    if name in DRAWING | {"n_pair", "hyp"}:
        return
    loss, (embeddings, labels) = make(name).double(), random_batch(2, dtype=torch.float64)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    other = copy.deepcopy(loss)
    value, grad, _ = call(loss, embeddings, labels)
    again, grad_again, _ = call(other, embeddings[order], labels[order])
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(grad_again, grad[order])
