"""HIST by hand, against the authors' arithmetic in loops; its hypergraph network learns at its own rate."""

import math

import pytest
import torch
from torch import nn

from pfml.losses.baselines.hist import propagation
from pfml.losses.common.relative_rate import learn_at
from tests.losses.baseline_cases import CLASSES, DIM, assert_agrees, make, random_batch
from tests.oracles.methods import hist

SETTINGS = {"tau": 4.0, "alpha": 0.9, "lambda_s": 0.7}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [CLASSES, 3])
def test_value_and_gradients_equal_the_authors(seed, classes):
    loss = make("hist", hidden=5, hgnn_rate=0.1, **SETTINGS)
    with torch.no_grad():
        loss.log_vars.mul_(8)  # some above 6, some below 0: both ends of relu6
    batch = random_batch(seed, count=13, classes=classes)
    assert_agrees(loss, lambda judge, x, y: hist(judge, x, y, [], **SETTINGS), *batch, rtol=1e-7)


def test_distances_by_hand():
    loss = make("hist", 2, 2)
    with torch.no_grad():
        loss.means.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
        loss.log_vars.copy_(torch.tensor([[-1.0, math.log(4)], [math.log(2), 50.0]]))
    # From (1, 0): zero and, with variances 2 and e^6, 1/2 + e^-6; from (0, 1): 1 + 1/4 and zero.
    found = loss.distances(torch.tensor([[5.0, 0.0], [0.0, 0.1]]))
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.5 + math.exp(-6)], [1.25, 0.0]]))


def test_propagation_by_hand():
    # Two images wholly in one edge: each gets the mean of both. Apart: each itself.
    torch.testing.assert_close(propagation(torch.ones(2, 1)), torch.full((2, 2), 0.5))
    torch.testing.assert_close(propagation(torch.eye(2)), torch.eye(2))


def test_incidence_holds_only_classes_of_the_batch():
    loss, labels = make("hist"), torch.tensor([4, 1, 1])
    incidence = loss.incidence(loss.distances(torch.randn(3, DIM)), labels)
    assert incidence.shape == (3, 2) and incidence[0, 1] == 1 and (incidence[1:, 0] == 1).all()
    assert (incidence > 0).all() and incidence[0, 0] < 1


def test_a_batch_of_one_image_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        make("hist")(torch.ones(1, DIM), torch.tensor([0]))


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop])
def test_a_relative_rate_moves_the_part_by_its_share(kind):
    """Two steps on the same loss: factor 0.1 at rate 1 ends where factor 1 at rate 0.1 does."""

    def walk(factor, rate):
        torch.manual_seed(0)
        part = nn.Linear(3, 2)
        if factor != 1:
            learn_at(part, factor, "factor")
        optimizer = kind(part.parameters(), lr=rate, eps=1e-30, weight_decay=0.0)
        for _ in range(3):
            optimizer.zero_grad()
            part(torch.arange(3.0)).pow(2).sum().backward()
            optimizer.step()
        return part.weight.detach().clone(), part.bias.detach().clone()

    for found, expected in zip(walk(0.1, 1.0), walk(1, 0.1)):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
