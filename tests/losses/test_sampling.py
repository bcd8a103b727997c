"""Which batches a loss can learn from."""

import pytest
import torch
import torch.nn.functional as F

from pfml.losses import BASELINES, LOSSES, NEEDS_POSITIVES
from pfml.losses.common import sampling
from tests.losses.baseline_cases import CLASSES, DIM, call, make


def check_sampler(name, *arguments):
    sampling.check_sampler(name, LOSSES[name], *arguments)


def test_the_losses_that_say_that_they_need_pairs_do():
    """As their papers do; all others compare images with proxies, with a memory or with whole neighborhoods."""
    known = {
        "contrastive", "triplet", "multi_similarity", "n_pair", "margin", "margin_per_class", "fast_ap", "snr",
        "circle", "lifted_structure", "histogram", "hyp", "esphn", "ms_das", "clustering",
        "diva", "dcml_mdw", "htl",
    }  # fmt: skip
    others = {"pfml", "cpml", "prism", "hist", "hier", "proxy_anchor", "soft_triple", "arcface", "pa_niv"}
    assert set(LOSSES) > NEEDS_POSITIVES >= known and not others & NEEDS_POSITIVES


@pytest.mark.parametrize("name", [name for name in BASELINES if LOSSES[name].trains])
def test_the_others_pull_without_pairs_of_one_class(name):
    """One image of each class, moved a step down the gradient: a loss that needs pairs has none that pulls."""
    torch.manual_seed(0)
    loss = make(name, **NO_PENALTY.get(name, {}))
    embeddings = torch.randn(CLASSES, DIM)
    value, grad, parameters = call(loss, embeddings, torch.arange(CLASSES))
    learns = any(gradient.any() for gradient in [grad, *parameters.values()])
    if name in NEEDS_POSITIVES:
        moved = embeddings - 1e-3 * grad
        repels_only = torch.pdist(F.normalize(moved)).mean() > torch.pdist(F.normalize(embeddings)).mean()
        assert not learns or repels_only or name == "ms_das", name  # which makes positives of its own
    elif name == "prism":  # its pairs come from the memory
        call(loss, embeddings + 0.1 * torch.randn(CLASSES, DIM), torch.arange(CLASSES))
        grad = call(loss, embeddings, torch.arange(CLASSES))[1]
        assert grad.abs().sum() > 0
    else:
        assert learns and value.isfinite(), name


NO_PENALTY = {
    "dcml_mdw": {"reinforce": 0.0}, "n_pair": {"l2": 0.0}, "lifted_structure": {"l2": 0.0}, "snr": {"zero_mean": 0.0},
}  # fmt: skip


def test_a_pair_loss_is_refused_where_no_batch_holds_a_pair():
    for sampler in ("balanced", "m_per_class"):
        check_sampler("triplet", sampler, 100, 2)
        with pytest.raises(ValueError, match=r"train\.images_per_class.*'triplet'.*at least 2, found 1"):
            check_sampler("triplet", sampler, 100, 1)
        with pytest.raises(ValueError, match=r"train\.batch.*found 1"):
            check_sampler("triplet", sampler, 1, 4)
        with pytest.raises(ValueError, match="every training class has one image"):
            check_sampler("triplet", sampler, 100, 4, [1] * 500)


def test_random_batches_must_hold_a_pair_on_average():
    check_sampler("hyp", "random", 100, 1)
    check_sampler("hyp", "random", 100, 1, [40] * 100)  # 48 pairs
    # 10 images of 1,000 pairs of 2: 45 * 2,000 / (2,000 * 1,999) = 0.0225.
    with pytest.raises(ValueError, match=r"train\.sampler: 'hyp'.*batch of 10 holds 0\.023"):
        check_sampler("hyp", "random", 10, 4, [2] * 1000)


def test_losses_with_proxies_take_every_sampler():
    for name in ("pfml", "proxy_anchor", "hist", "prism", "hier"):
        check_sampler(name, "random", 10, 1, [1] * 100)
        check_sampler(name, "balanced", 10, 1, [1] * 100)
    with pytest.raises(ValueError, match=r"train\.batch: 'hist'"):
        check_sampler("hist", "random", 1, 1)
