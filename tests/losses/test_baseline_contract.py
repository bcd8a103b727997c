"""What every baseline keeps to: all parameters learn, awkward batches are survived, a state goes on bit for bit."""

import copy
import inspect

import pytest
import torch

from pfml.losses import BASELINES, LOSSES, build_loss
from pfml.losses.common.ranges import arguments
from tests.losses.bad_values import bad_values
from tests.losses.baseline_cases import CLASSES, DIM, awkward_batches, call, draws, make, random_batch, rows

DRAWING = {"margin", "margin_per_class", "hier", "ms_das", "diva", "dcml_mdw"}  # and others, which tell by their Draws
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of BatchNorm, which training does not read


@pytest.mark.parametrize("name", [name for name in BASELINES if LOSSES[name].trains])
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
    before = copy.deepcopy(loss.state_dict())
    first, second = call(loss, *batch)[0], call(loss, *batch)[0]
    moved = {key for key, value in loss.state_dict().items() if not torch.equal(value, before[key])}
    assert torch.equal(first, second) == all(key.endswith(STATISTICS) for key in moved)
    assert not torch.equal(first, second) or name not in DRAWING | {"prism"}


@pytest.mark.parametrize("name", BASELINES)
def test_draws_differ_between_seeds_and_steps(name):
    batch = random_batch(1)
    assert bool(draws(make(name))) >= (name in DRAWING)
    if not draws(make(name)):
        return
    one, other = make(name), make(name, seed=0)
    assert torch.equal(call(one, *batch)[0], call(other, *batch)[0]), "same seed"
    with torch.no_grad():
        [seeds] = draws(other)
        seeds.seed += 1
        seeds.step.zero_()
    one = make(name)
    assert not torch.equal(call(one, *batch)[0], call(other, *batch)[0]), "another seed"


@pytest.mark.parametrize("name", BASELINES)
def test_bad_batches_are_refused_in_words(name):
    loss, (embeddings, labels) = make(name), random_batch(0)
    embeddings = rows(loss, embeddings)
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


BAD = [
    (name, key, value)
    for name in BASELINES
    for key, argument in arguments(LOSSES[name]).items()
    for value in bad_values(argument, inspect.signature(LOSSES[name]))
]


def test_the_bad_values_are_those_that_they_should_be():
    bad = set(BAD)
    assert {("prism", "noise_rate", 1), ("margin", "upper_cutoff", 0.5), ("hier", "hierarchy", 1)} <= bad
    assert {("circle", "margin", -1e-09), ("proxy_gml", "ratio", 1 + 1e-09), ("n_pair", "l2", None)} <= bad
    assert {("triplet", "mining", "no such option"), ("pa_niv", "embedding_dim", 1), ("proxy_nca", "scale", 0)} <= bad
    assert len({name for name, *_ in bad}) == len(BASELINES)


@pytest.mark.parametrize("name, key, value", BAD)
def test_bad_settings_and_sizes_are_refused_by_name(name, key, value):
    sizes = {"num_classes": CLASSES, "embedding_dim": DIM}
    with pytest.raises(ValueError, match=f"^{key}="):
        LOSSES[name](**sizes | {key: value})
    if key not in sizes:
        with pytest.raises(ValueError, match=f"^{key}="):
            build_loss(name, CLASSES, DIM, **{key: value})


@pytest.mark.parametrize("name", BASELINES)
def test_losses_ignore_the_order_of_the_batch(name):
    """Except what a draw or a number inside the class decides."""
    loss, (embeddings, labels) = make(name).double(), random_batch(2, dtype=torch.float64)
    if draws(loss) or name in ("n_pair", "hyp"):
        return
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    other = copy.deepcopy(loss)
    value, grad, _ = call(loss, embeddings, labels)
    again, grad_again, _ = call(other, embeddings[order], labels[order])
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(grad_again, grad[order])
