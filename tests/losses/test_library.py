"""Losses built from pytorch-metric-learning and the histogram loss: by hand in the plane, and against slow formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.losses.baseline_cases import CLASSES, assert_agrees, call, make, random_batch
from tests.oracles import histograms, pairs, proxies, triplets
from tests.oracles.methods import margin, mined

# Two classes: east and north-east, west and south-west.
PLANE = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [-1.0, -1.0]]), torch.tensor([0, 0, 1, 1])


def plane(name, **settings):
    return make(name, 2, 2, **settings)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("normalize", [True, False])
def test_n_pair_equals_its_formula(seed, normalize):
    loss = make("n_pair", normalize=normalize, l2=0.02)
    assert_agrees(loss, lambda _, x, y: pairs.n_pair(x, y, 0.02, normalize), *random_batch(seed, count=17))


def test_n_pair_by_hand():
    # Products: 1 within each class, -1 from each anchor to the other's positive; squared lengths 1, 2, 1, 2.
    expected = math.log(1 + math.exp(-2)) + 0.5 * 1.5
    assert plane("n_pair", l2=0.5)(*PLANE).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["margin", "margin_per_class"])
def test_margin_equals_its_formula_on_the_triplets_that_were_drawn(name, seed):
    loss = make(name, nu=0.1, margin=0.3).double()
    embeddings, labels = random_batch(seed, count=14)
    with mined(loss) as drawn:
        assert_agrees(loss, lambda judge, x, y: margin(judge, x, y, drawn, 0.3, 0.1), embeddings, labels)
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


@pytest.mark.parametrize("dim", [64, 384, 512])
@pytest.mark.parametrize("name", ["margin", "margin_per_class"])
def test_every_anchor_with_a_near_negative_draws_in_any_number_of_dimensions(name, dim):
    """One close pair of classes: with the largest log weight of the batch, 8 of 100 anchors keep a triplet at D 512."""
    torch.manual_seed(0)
    centres = F.normalize(torch.randn(25, dim), dim=1)
    centres[1] = F.normalize(centres[0] + 0.35 * F.normalize(torch.randn(dim), dim=0), dim=0)
    labels = torch.arange(25).repeat_interleave(4)
    embeddings = F.normalize(centres[labels] + 0.5 * F.normalize(torch.randn(100, dim), dim=1), dim=1)
    distances = torch.cdist(embeddings, embeddings)
    near = ((labels[:, None] != labels) & (distances < 1.4)).any(1)
    loss = make(name, 25, dim)
    anchors, _, negatives = loss.miner(embeddings, labels)
    assert torch.equal(anchors.unique(), near.nonzero()[:, 0]) and near.sum() > 90
    assert len(anchors) == 4 * near.sum(), "as many triplets an anchor as its class has images"
    assert (distances[anchors, negatives] < 1.4).all() and (labels[anchors] != labels[negatives]).all()


def test_margin_draws_with_the_inverse_density_of_distances():
    # One anchor at D 8, negatives at distances 0.5, 0.8 and 1.1: weights d^-6 (1 - d^2 / 4)^-2.5.
    d = torch.tensor([0.0, 0.1, 0.5, 0.8, 1.1])
    points = torch.zeros(5, 8)
    points[:, 0], points[:, 1] = 1 - d**2 / 2, d * (1 - d**2 / 4).sqrt()
    loss, labels = make("margin", 4, 8), torch.tensor([0, 0, 1, 2, 3])
    drawn = [loss.miner(points, labels) for _ in range(3000)]
    negatives = torch.cat([n[a == 0] for a, _, n in drawn])
    weights = d[2:] ** -6 * (1 - d[2:] ** 2 / 4) ** -2.5
    shares = torch.bincount(negatives, minlength=5)[2:] / len(negatives)
    assert torch.allclose(shares, weights / weights.sum(), atol=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_tensorflow_s_semi_hard_triplets_equal_their_formula(seed):
    loss = make("triplet", margin=1.0, mining="tensorflow")
    embeddings, labels = random_batch(seed, count=15)
    assert_agrees(loss, lambda _, x, y: triplets.triplet(x, y, 1.0, "tensorflow"), embeddings, labels)


def test_tensorflow_s_semi_hard_triplet_by_hand():
    # Anchor and positive at 0 and 60 degrees, the other class at 90 and 180: squared distances 1 to the positive, 2 and
    # 4 to the negatives from the first, 0.268 and 3 from the second. Nearest beyond: 2 and 3; likewise for the others.
    angles = torch.tensor([0.0, 60.0, 90.0, 180.0]).deg2rad()
    points = torch.stack([angles.cos(), angles.sin()], 1)
    value = plane("triplet", margin=1.5, mining="tensorflow")(points, torch.tensor([0, 0, 1, 1]))
    # The third: 2 to its positive, 2 (not beyond) and 0.268 to the others, so the farthest of all, 2; the fourth: 2 to
    # its positive, 4 and 3 to the others, the nearest beyond is 3.
    expected = (max(1 - 2 + 1.5, 0) + max(1 - 3 + 1.5, 0) + (2 - 2 + 1.5) + (2 - 3 + 1.5)) / 4
    assert value.item() == pytest.approx(expected, abs=1e-5)


def test_n_pair_at_its_default_weight_is_the_original_at_its_own():
    """TensorFlow 1, npairs_loss: cross entropy + reg / 4 * (mean |f|^2 + mean |f+|^2), the paper's reg 0.02."""
    torch.manual_seed(0)
    points, labels = torch.randn(32, 64, dtype=torch.float64), torch.arange(16).repeat_interleave(2)
    f, f_plus = points[::2], points[1::2]
    lengths = f.square().sum(1).mean() + f_plus.square().sum(1).mean()
    original = F.cross_entropy(f @ f_plus.T, torch.arange(16)) + 0.02 / 4 * lengths
    assert make("n_pair", 16, 64).double()(points, labels).item() == pytest.approx(original.item(), rel=1e-6)


def test_lifted_structure_s_penalty_is_of_the_length_as_in_roth_et_al():
    torch.manual_seed(0)
    points, labels = 3 * torch.randn(8, 16, dtype=torch.float64), torch.arange(8) % 2
    with_it, without = (make("lifted_structure", 2, 16, l2=l2).double()(points, labels) for l2 in (0.005, 0.0))
    assert (with_it - without).item() == pytest.approx(0.005 * points.norm(dim=1).mean().item(), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["normalized_softmax", "cosface", "arcface", "sub_center_arcface"])
def test_class_weights_equal_their_formula(name, seed):
    settings = {
        "normalized_softmax": ("plain", 0.0, 20.0), "cosface": ("cosface", 0.35, 64.0),
        "arcface": ("arcface", 60.0, 16.0), "sub_center_arcface": ("arcface", 28.6, 64.0),
    }[name]  # fmt: skip
    loss = make(name) if name == "normalized_softmax" else make(name, margin=settings[1], scale=settings[2])
    assert_agrees(
        loss, lambda judge, x, y: proxies.class_weights(x, y, judge.proxies, *settings), *random_batch(seed, count=9)
    )


TURNED = 64 * (1 + math.sin(math.radians(28.6)))


@pytest.mark.parametrize("name, expected", [
    ("normalized_softmax", 20.0), ("cosface", 64 * 1.35), ("arcface", TURNED), ("sub_center_arcface", TURNED),
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
    home = histograms if name in ("fast_ap", "histogram") else pairs
    loss, formula = make(name, **settings), getattr(home, name)
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
