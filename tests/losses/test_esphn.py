"""Easy positives with semi-hard and hard negatives: by hand in the plane, against a search by loops."""

import math

import pytest
import torch

from tests.losses.baseline_cases import assert_agrees, call, make, random_batch
from tests.oracles.triplets import easy_positive


def at(*degrees):
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mining", ["semihard", "hard"])
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_value_and_gradients_equal_the_authors(seed, mining, spread):
    loss = make("esphn", temperature=0.3, mining=mining)
    batch = random_batch(seed, count=21, spread=spread)
    assert_agrees(loss, lambda _, x, y: easy_positive(x, y, 0.3, mining), *batch)


def test_by_hand():
    # Anchor at 0 degrees: positives at 40 and 60, the easy one is 40; negatives at 20, nearer than it, and 50.
    points, labels = at(0, 40, 60, 20, 50), torch.tensor([0, 0, 0, 1, 1])
    for mining, angle in (("semihard", 50), ("hard", 20)):
        loss = make("esphn", 2, 2, temperature=1.0, mining=mining)
        _, positive, negative = loss._mine(points @ points.T, labels)
        assert (positive[0], negative[0]) == (1, {50: 4, 20: 3}[angle])
    # Two anchors at 0 and 60, a negative at 90: the first has none above cosine 0, nor has the third a positive.
    value = make("esphn", 2, 2, temperature=0.5)(at(0, 60, 100), torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(0, abs=1e-9), "at 60 the negative is nearer than the positive"
    value = make("esphn", 2, 2, temperature=0.5, mining="hard")(at(0, 60, 100), torch.tensor([0, 0, 1]))
    gap = (math.cos(math.radians(40)) - math.cos(math.radians(60))) / 0.5
    assert value.item() == pytest.approx(math.log1p(math.exp(gap)), rel=1e-6)


def test_a_copy_of_the_anchor_is_no_positive():
    points, labels = at(0, 0, 30, 45), torch.tensor([0, 0, 0, 1])
    _, positive, _ = make("esphn", 2, 2)._mine(points @ points.T, labels)
    assert positive[:2].tolist() == [2, 2]


def test_without_triplets_the_loss_and_its_gradient_are_zero():
    value, grad, _ = call(make("esphn"), torch.randn(6, 8), torch.arange(6))
    assert value == 0 and (grad == 0).all()
