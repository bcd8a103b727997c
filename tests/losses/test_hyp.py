"""The Poincare ball and Hyp: by hand on a line, against Moebius addition and the authors' loops."""

import math

import pytest
import torch

from pfml.losses.baselines.hyp import rows_of_classes
from pfml.losses.common.poincare import ball_distances, to_ball
from tests.losses.baseline_cases import CLASSES, DIM, assert_agrees, call, make, random_batch
from tests.oracles.hyperbolic import all_distances, hyp


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count, classes, settings", [
    (12, 6, {"c": 0.1, "temperature": 0.2, "clip": 2.3}), (12, 4, {"c": 1.0, "temperature": 0.5, "clip": 0.8}),
    (10, 2, {"c": 0.3, "temperature": 1.0, "clip": 5.0}),
])  # fmt: skip
def test_value_and_gradients_equal_the_authors(seed, count, classes, settings):
    embeddings, labels = random_batch(seed, count=count, classes=classes)
    assert_agrees(make("hyp", **settings), lambda _, x, y: hyp(x, y, **settings), embeddings, labels)


def test_distances_by_hand():
    # On a line through the origin of the unit ball artanh is the coordinate: 2 |artanh x - artanh y|.
    x, y = torch.tensor([[math.tanh(1.0), 0.0]]), torch.tensor([[math.tanh(0.25), 0.0], [-math.tanh(1.0), 0.0]])
    torch.testing.assert_close(ball_distances(x, y, 1.0), torch.tensor([[1.5, 4.0]]))
    # The exponential map of length u ends at distance 2 u from the origin, as long as it is not cut.
    points = to_ball(torch.tensor([[0.0, 0.7], [30.0, 40.0]]), 0.1, 2.3)
    found = ball_distances(points, torch.zeros(1, 2), 0.1)
    torch.testing.assert_close(found, torch.tensor([[1.4], [4.6]]), rtol=1e-4, atol=1e-4)


def test_points_stay_inside_and_the_zero_vector_at_the_origin():
    points = to_ball(torch.tensor([[1e6, 0.0], [0.0, 0.0]]), 1.0, 1e7)
    assert points[0, 0] < 1 and points[0, 0] == pytest.approx(0.999) and (points[1] == 0).all()
    near = to_ball(torch.full((2, 4), 1e-8), 0.1, 2.3).requires_grad_()
    ball_distances(near, near, 0.1).sum().backward()
    assert near.grad.isfinite().all()


@pytest.mark.parametrize("c", [0.1, 1.0])
def test_the_closed_form_is_the_length_of_a_moebius_sum(c):
    x, y = (to_ball(random_batch(seed, count=5, dtype=torch.float64)[0], c, 2.0) for seed in (0, 1))
    torch.testing.assert_close(ball_distances(x, y, c), all_distances(x, y, c), rtol=1e-9, atol=1e-9)


def test_the_riemannian_gradient_is_scaled_where_it_enters():
    x = random_batch(0, count=4, dtype=torch.float64)[0]
    grads = []
    for riemannian in (False, True):
        points = to_ball(x, 0.3, 2.0, riemannian)
        leaf = points.detach().requires_grad_()
        weights = torch.arange(32.0, dtype=torch.float64).view(4, 8)
        source = x.clone().requires_grad_()
        (to_ball(source, 0.3, 2.0, riemannian) * weights).sum().backward()
        grads.append(source.grad)
    factor = (1 - 0.3 * (leaf**2).sum(1, keepdim=True)) ** 2 / 4
    leaf = x.clone().requires_grad_()
    (to_ball(leaf, 0.3, 2.0) * weights * factor.detach()).sum().backward()
    torch.testing.assert_close(grads[1], leaf.grad)
    assert not torch.allclose(grads[0], grads[1])


def test_by_hand():
    # Two classes of two equal images on opposite sides: positive at distance 0, the two others at 4 u: twice
    # (once for each order of the numbers) log(1 + 2 exp(-4 u / T)).
    points = torch.tensor([[0.5, 0.0], [0.5, 0.0], [-0.5, 0.0], [-0.5, 0.0]])
    value = make("hyp", 2, 2, temperature=1.0)(points, torch.tensor([0, 0, 1, 1]))
    assert value.item() == pytest.approx(2 * math.log1p(2 * math.exp(-2)), rel=1e-4)


def test_rows_of_classes():
    rows, counts = rows_of_classes(torch.tensor([7, 2, 7, 2, 7, 5]))
    assert counts.tolist() == [2, 1, 3]
    assert rows.tolist() == [[1, 3, 0], [5, 0, 0], [0, 2, 4]]


def test_classes_with_fewer_images_take_part_in_fewer_pairs():
    """Of two and three images: the third stands against no other class, so its terms are those of one class alone."""
    embeddings, labels = random_batch(0, count=5, classes=2)
    loss = make("hyp")
    longer = labels.bincount().argmax()
    third = (labels == longer).nonzero()[2, 0]
    keep = torch.arange(5) != third
    assert loss(embeddings, labels).item() == pytest.approx(loss(embeddings[keep], labels[keep]).item(), rel=1e-6)
    value, grad, _ = call(loss, embeddings, labels)
    assert value > 0 and (grad[third] == 0).all()
    assert call(loss, torch.randn(CLASSES, DIM), torch.arange(CLASSES))[0] == 0, "no pair at all"
