"""The six baselines of the study: by hand in the plane, value and gradients against their formulas in loops."""

import math

import pytest
import torch

from tests.losses.baseline_cases import assert_agrees, call, make, random_batch
from tests.losses.scenes import on_circle
from tests.oracles import pairs, proxies, triplets

ROOT2, ROOT3 = 2**0.5, 3**0.5
# Lengths do not count. Chords: sqrt 3 in the class of two, to the other class 2 from the first and 1 from the second.
PLANE = on_circle(0, 120, 180) * torch.tensor([[3.0], [1.0], [0.5]]), torch.tensor([0, 0, 1])
# Images, dimensions, classes, those in the batch: all; two absent; three classes of one image; in the plane.
SHAPES = [(12, 8, 4, 4), (13, 5, 6, 4), (9, 16, 6, 6), (10, 2, 5, 5)]

PAIR_LOSSES = {
    "triplet": [
        {"margin": margin, "mining": mining} for mining in ("semihard", "hard", "all") for margin in (0.2, 0.7)
    ],
    "multi_similarity": [
        {"alpha": 2.0, "beta": 50.0, "base": 0.5, "epsilon": 0.1},
        {"alpha": 3.0, "beta": 7.0, "base": -0.2, "epsilon": 0.4},
        {"alpha": 1.0, "beta": 40.0, "base": 0.7, "epsilon": 0.0},
    ],
    "contrastive": [{"pos_margin": 0.0, "neg_margin": 0.5}, {"pos_margin": 0.3, "neg_margin": 1.3}],
}
PROXY_LOSSES = {
    "proxy_nca": [{"scale": 3.0}, {"scale": 0.7}],
    "proxy_anchor": [{"margin": 0.1, "scale": 32.0}, {"margin": 0.4, "scale": 3.0}],
}
CENTRES = [(10, 20.0, 0.1, 0.01, 0.0), (3, 4.0, 0.7, 0.3, 0.0), (3, 4.0, 0.7, 0.3, 0.2), (1, 4.0, 0.7, 0.3, 0.2)]


def cases(losses):
    return [(name, settings) for name, several in losses.items() for settings in several]


def plane(name, proxies=None, **settings):
    """The loss of two classes in the plane; proxies as in its attribute, (2, M, 2) or (2, 2)."""
    loss = make(name, 2, 2, **settings)
    if proxies is not None:
        (parameter,) = loss.parameters()
        proxies = torch.tensor(proxies)
        with torch.no_grad():
            parameter.copy_(proxies.flatten(0, 1).T if name == "soft_triple" else proxies)
    return loss


@pytest.mark.parametrize("count, dim, classes, present", SHAPES)
@pytest.mark.parametrize("name, settings", cases(PAIR_LOSSES))
def test_pair_losses_equal_their_formula(name, settings, count, dim, classes, present):
    home = triplets if name == "triplet" else pairs
    loss, formula = make(name, classes, dim, **settings), getattr(home, name)
    for seed in range(3):
        batch = random_batch(seed, count, dim, present, spread=2.0)
        assert call(loss, *batch)[0] > 0
        assert_agrees(loss, lambda _, x, y: formula(x, y, **settings), *batch)


@pytest.mark.parametrize("count, dim, classes, present", SHAPES)
@pytest.mark.parametrize("name, settings", cases(PROXY_LOSSES))
def test_proxy_losses_equal_their_formula(name, settings, count, dim, classes, present):
    loss, formula = make(name, classes, dim, **settings), getattr(proxies, name)
    batch = random_batch(count, count, dim, present)
    assert_agrees(loss, lambda judge, x, y: formula(x, y, judge.proxies[:, 0], **settings), *batch)


@pytest.mark.parametrize("count, dim, classes, present", SHAPES)
@pytest.mark.parametrize("centers, scale, gamma, margin, tau", CENTRES)
def test_soft_triple_equals_its_formula(centers, scale, gamma, margin, tau, count, dim, classes, present):
    settings = {"scale": scale, "gamma": gamma, "margin": margin, "tau": tau}
    loss = make("soft_triple", classes, dim, centers_per_class=centers, **settings)
    batch = random_batch(count, count, dim, present)
    assert_agrees(loss, lambda judge, x, y: proxies.soft_triple(x, y, judge.proxies, **settings), *batch)


@pytest.mark.parametrize("mining, expected", [
    ("semihard", ROOT3 - 2 + 0.5), ("hard", ROOT3 - 1 + 0.5), ("all", ROOT3 - 1.5 + 0.5)
])  # fmt: skip
def test_triplet_by_hand(mining, expected):
    # The first image's negative, at 2, is farther than its positive, at sqrt 3, but by less than the margin of 0.5; the
    # second's, at 1, is nearer; the third has no positive. "all" is the mean of the two.
    assert plane("triplet", margin=0.5, mining=mining)(*PLANE).item() == pytest.approx(expected, rel=1e-5)


def test_triplet_without_violations_is_zero():
    # By default semi-hard with margin 0.2: 2 lies farther from sqrt 3 than that.
    value, grad, _ = call(plane("triplet"), *PLANE)
    assert value == 0 and (grad == 0).all()


def test_contrastive_by_hand():
    # sqrt 3 - 0.5 between the positives; of the negatives, at 2 and 1, one lies inside 1.75.
    loss = plane("contrastive", pos_margin=0.5, neg_margin=1.75)
    assert loss(*PLANE).item() == pytest.approx(ROOT3 - 0.5 + 0.75, rel=1e-5)


def test_multi_similarity_by_hand():
    # Cosines: -1/2 in the class, to the negative -1 from the first and 1/2 from the second; the third has no positive.
    # Within epsilon = 0.6 the first keeps its pairs too. With base 0 exponents are 2 * 1/2, 4 * -1 and 4 * 1/2.
    loss = plane("multi_similarity", alpha=2.0, beta=4.0, base=0.0, epsilon=0.6)
    attract, repel = math.log1p(math.e) / 2, [math.log1p(math.exp(z)) / 4 for z in (-4, 2)]
    assert loss(*PLANE).item() == pytest.approx((2 * attract + sum(repel)) / 3, rel=1e-5)
    # Within 0.4 only the second does: the paper has (attract + repel[1]) / 3, but the library takes one mined pair of
    # each kind in a whole batch for none.
    assert plane("multi_similarity", alpha=2.0, beta=4.0, base=0.0, epsilon=0.4)(*PLANE) == 0
    # All of it twice: every pair also with the copies, and cosines of 1 between copies, which epsilon 0.4 leaves out.
    embeddings, labels = PLANE
    attract, repel = math.log1p(2 * math.e) / 2, math.log1p(2 * math.exp(2)) / 4
    twice = plane("multi_similarity", alpha=2.0, beta=4.0, base=0.0, epsilon=0.4)(
        embeddings.repeat(2, 1), labels.repeat(2)
    )
    assert twice.item() == pytest.approx((2 * attract + 2 * repel) / 6, rel=1e-5)


def test_proxy_nca_by_hand():
    # Squared distances 0 and 2 to the own and the other proxy, then 2 and 4: with scale 1/2 both log(1 + e^-1).
    loss = plane("proxy_nca", [[2.0, 0.0], [0.0, 0.5]], scale=0.5)
    value = loss(torch.tensor([[5.0, 0.0], [0.0, -3.0]]), torch.tensor([0, 0]))
    assert value.item() == pytest.approx(math.log1p(math.exp(-1)), rel=1e-5)


def test_proxy_anchor_by_hand():
    # One image, at its class's proxy and at a right angle to the other's: margin 1/2 and scale 2 give exponents -1 and
    # 1. One class is present, two repel.
    loss = plane("proxy_anchor", [[2.0, 0.0], [0.0, 0.5]], margin=0.5, scale=2.0)
    value = loss(torch.tensor([[5.0, 0.0]]), torch.tensor([0]))
    assert value.item() == pytest.approx(math.log1p(math.exp(-1)) + math.log1p(math.e) / 2, rel=1e-5)


RIGHT_ANGLES = [[[2.0, 0.0], [0.0, 0.5]], [[-1.0, 0.0], [0.0, -3.0]]]


@pytest.mark.parametrize("label, exponent", [(0, -1.0), (1, 3.0)])
def test_soft_triple_by_hand(label, exponent):
    # Cosines 1 and 0 to the centres of one class, -1 and 0 to those of the other: with gamma 1 the classes have
    # e / (e + 1) and -1 / (e + 1), which are 1 apart. Margin 1/2 and scale 2: 2 (-1 + 1/2) and 2 (1 + 1/2).
    loss = plane("soft_triple", RIGHT_ANGLES, centers_per_class=2, scale=2.0, gamma=1.0, margin=0.5)
    value = loss(torch.tensor([[5.0, 0.0]]), torch.tensor([label]))
    assert value.item() == pytest.approx(math.log1p(math.exp(exponent)), rel=1e-5)


def test_the_regulariser_of_soft_triple_by_hand_and_without_it_nothing_changes():
    # Two classes of two centres: at a right angle (distance sqrt 2), and equal (1e-5 under the root): / (2 * 2 * 1).
    loss = plane("soft_triple", [RIGHT_ANGLES[0], [[1.0, 1.0], [2.0, 2.0]]], centers_per_class=2, tau=1.0)
    added = loss(*PLANE) - loss.loss(*PLANE)
    assert added.item() == pytest.approx((ROOT2 + 1e-5**0.5) / 4, rel=1e-3)
    loss.tau = 0.0
    assert torch.equal(loss(*PLANE), loss.loss(*PLANE))
