"""Losses built from pytorch-metric-learning and the histogram loss: by hand in the plane, and against slow formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.losses import library_oracles as oracles
from tests.losses.baseline_cases import CLASSES, assert_agrees, call, make, random_batch

# Two classes: east and north-east, west and south-west.
PLANE = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [-1.0, -1.0]]), torch.tensor([0, 0, 1, 1])


def plane(name, **settings):
    return make(name, 2, 2, **settings)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("normalize", [True, False])
def test_n_pair_equals_its_formula(seed, normalize):
    loss = make("n_pair", normalize=normalize, l2=0.02)
    assert_agrees(loss, lambda _, x, y: oracles.n_pair(x, y, 0.02, normalize), *random_batch(seed, count=17))


def test_n_pair_by_hand():
    # Products: 1 within each class, -1 from each anchor to the other's positive; squared lengths 1, 2, 1, 2.
    expected = math.log(1 + math.exp(-2)) + 0.5 * 1.5
    assert plane("n_pair", l2=0.5)(*PLANE).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["margin", "margin_per_class"])
def test_margin_equals_its_formula_on_the_triplets_that_were_drawn(name, seed):
    loss = make(name, nu=0.1, margin=0.3).double()
    embeddings, labels = random_batch(seed, count=14)
    drawn = []
    loss.miner.register_forward_hook(lambda module, args, out: drawn.append(out))

    def formula(judge, x, y):
        beta, triplets = judge.loss.beta, list(zip(*(t.tolist() for t in drawn[0])))
        betas = [beta[y[a]] if name == "margin_per_class" else beta[0] for a, _, _ in triplets]
        value, count = oracles.margin_loss(x, triplets, betas, 0.3, 0.1)
        return value + 0.1 * (sum(betas) / count if name == "margin_per_class" else beta[0])

    assert_agrees(loss, formula, embeddings, labels)
    anchors, positives, negatives = drawn[0]
    assert (labels[anchors] == labels[positives]).all() and (anchors != positives).all()
    assert (labels[anchors] != labels[negatives]).all()
    assert loss.loss.beta.shape == ((CLASSES,) if name == "margin_per_class" else (1,))


def test_margin_by_hand():
    # Distances: 2 sin(22.5 deg) = 0.765 to the positive; negatives at 1.848 and 2 lie beyond the upper cutoff of 1.4.
    assert plane("margin")(*PLANE) == 0
    # Beyond cutoff 1.99 only the negative at 1.848 is drawn: [0.765 - 1.2 + 0.2]+ = 0 and [1.2 - 1.848 + 0.8]+ with
    # margin 0.8 are 0.365 and 0.152, half of the sum each.
    loss = plane("margin", margin=0.8, upper_cutoff=1.99)
    near, far = 2 * math.sin(math.radians(22.5)), 2 * math.sin(math.radians(67.5))
    expected = ((near - 1.2 + 0.8) + (1.2 - far + 0.8)) / 2
    assert loss(*PLANE).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["normalised_softmax", "cosface", "arcface", "sub_center_arcface"])
def test_class_weights_equal_their_formula(name, seed):
    settings = {
        "normalised_softmax": ("plain", 0.0, 20.0), "cosface": ("cosface", 0.35, 64.0),
        "arcface": ("arcface", 60.0, 16.0), "sub_center_arcface": ("arcface", 28.6, 64.0),
    }[name]  # fmt: skip
    loss = make(name) if name == "normalised_softmax" else make(name, margin=settings[1], scale=settings[2])
    assert_agrees(
        loss, lambda judge, x, y: oracles.angular(x, judge.proxies, y, *settings), *random_batch(seed, count=9)
    )


TURNED = 64 * (1 + math.sin(math.radians(28.6)))


@pytest.mark.parametrize("name, expected", [
    ("normalised_softmax", 20.0), ("cosface", 64 * 1.35), ("arcface", TURNED), ("sub_center_arcface", TURNED),
])  # fmt: skip
def test_class_weights_by_hand(name, expected):
    """An image at a right angle to its own class's weight and at the other's: log(1 + e^z) = z for large z."""
    loss = plane(name)
    with torch.no_grad():
        loss.loss.W.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0]]).repeat_interleave(loss.proxies.shape[1], dim=1))
    assert loss(torch.tensor([[5.0, 0.0]]), torch.tensor([1])).item() == pytest.approx(expected, rel=1e-5)


def test_the_angular_losses_survive_an_image_at_its_weight():
    for name in ("arcface", "sub_center_arcface"):
        loss = make(name)
        at = loss.proxies.detach()[:, 0].clone()
        value, grad, parameters = call(loss, torch.cat([at, -at]), torch.arange(CLASSES).repeat(2))
        assert value.isfinite() and grad.isfinite().all() and parameters["loss.W"].isfinite().all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name, settings", [
    ("fast_ap", {"bins": 10}), ("fast_ap", {"bins": 3}),
    ("snr", {"pos_margin": 0.1, "neg_margin": 1.5, "zero_mean": 0.1}),
    ("circle", {"margin": 0.4, "scale": 80.0}), ("circle", {"margin": 0.1, "scale": 4.0}),
    ("lifted_structure", {"margin": 1.0, "normalize": False, "l2": 0.01}),
    ("lifted_structure", {"margin": 0.5, "normalize": True, "l2": 0.0}),
    ("histogram", {"bins": 10}), ("histogram", {"bins": 33}),
])  # fmt: skip
def test_pair_losses_equal_their_formula(name, settings, seed):
    loss, formula = make(name, **settings), getattr(oracles, name)
    assert_agrees(loss, lambda _, x, y: formula(x, y, **settings), *random_batch(seed, count=13, classes=5), rtol=1e-7)


def test_fast_ap_by_hand():
    # Anchor east, two bins of squared distances (nodes 0, 2, 4): the positive at 0 counts at node 0, the negative at 4
    # at node 4, so the average precision is 1. With the labels swapped it is 1 * 1 / 2.
    points = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert plane("fast_ap", bins=2)(points, torch.tensor([0, 0, 1])).item() == pytest.approx(0, abs=1e-6)
    swapped = plane("fast_ap", bins=2)(points, torch.tensor([0, 1, 0])).item()
    assert swapped == pytest.approx(0.5, abs=1e-6)


def test_snr_by_hand():
    # In the plane var(a - b) / var(a) = ((a1 - b1) - (a2 - b2))^2 / (a1 - a2)^2: (1, 0) and (0, 1) have 4, and none of
    # the terms of a far negative counts.
    points, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    assert plane("snr", zero_mean=0.0)(points, labels).item() == pytest.approx(4.0)
    assert plane("snr", zero_mean=0.5)(points, labels).item() == pytest.approx(4.5), "each sums to 1"
    assert plane("snr", zero_mean=0.0, neg_margin=5.0)(points, torch.tensor([0, 1])).item() == pytest.approx(1.0)


def test_circle_by_hand():
    # At m = 0.5 and scale 2: positive cosine 0, weight 1.5, 2 * 1.5 * 0.5; negative cosine -1: weight 0.
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    loss = plane("circle", margin=0.5, scale=2.0)(points, torch.tensor([0, 0, 1]))
    first = F.softplus(torch.tensor(1.5)).item()
    # The second image's negative has cosine 0: weight 0.5, 2 * 0.5 * -0.5.
    second = F.softplus(torch.tensor(1.5 - 0.5)).item()
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-6), "the third has no positive"


def test_lifted_structure_by_hand():
    # Free lengths: positive at distance 1; negatives of the pair at distances 1 and 2 with margin 1.
    points = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    loss = plane("lifted_structure", l2=0.0)(points, torch.tensor([0, 0, 1]))
    expected = (math.log(math.exp(0) + math.exp(-1)) + 1) ** 2 / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_lifted_structure_is_the_library_s_on_half_of_its_positive_pairs():
    halved, whole = make("lifted_structure").double(), make("lifted_structure").double()
    embeddings, labels = random_batch(0, dtype=torch.float64)
    anchors = halved.miner(embeddings, labels)[0]
    i, j = torch.triu_indices(len(labels), len(labels), offset=1)
    assert len(anchors) == (labels[i] == labels[j]).sum()
    whole.miner = None
    torch.testing.assert_close(call(halved, embeddings, labels)[:2], call(whole, embeddings, labels)[:2])


def test_histogram_by_hand():
    # Two bins, nodes -1, 0, 1. Positive pair at cosine 0.5: half at 0, half at 1; negatives at -1 and -0.5: three
    # quarters at -1, a quarter at 0.
    points = torch.tensor([[1.0, 0.0], [0.5, 3**0.5 / 2], [-1.0, 0.0]])
    loss = plane("histogram", bins=2)(points, torch.tensor([0, 0, 1]))
    assert loss.item() == pytest.approx(0.75 * 0 + 0.25 * 0.5, abs=1e-6)
