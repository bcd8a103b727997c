"""Facility location: by hand in the plane, its NMI against scikit-learn's, value and gradients against the original's
arithmetic in loops.
"""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

from pfml.losses.baselines.clustering import Agreement, assign, greedy, refine, swaps
from tests.losses.baseline_cases import assert_agrees, call, make, random_batch
from tests.losses.scenes import on_circle
from tests.oracles.clustering import clustering

WRONG = (math.log(3) - 4 / 3 * math.log(2)) / (math.log(3) - 2 / 3 * math.log(2))  # NMI of 0 0 1 and 0 1 1


def nmi(labels, clusters):
    return normalized_mutual_info_score(labels, clusters, average_method="geometric")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gamma, rounds", [(0.0, 0), (0.0, 5), (3.0, 1), (3.0, 5), (30.0, 5)])
@pytest.mark.parametrize("classes, spread", [(4, 1.0), (6, 2.0)])
def test_value_and_gradients_equal_the_originals(seed, gamma, rounds, classes, spread):
    loss = make("clustering", gamma=gamma, rounds=rounds)
    batch = random_batch(seed, count=15, classes=classes, spread=spread)
    assert_agrees(loss, lambda _, x, y: clustering(x, y, gamma, rounds), *batch)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("gamma, rounds", [(3.0, 0), (3.0, 5), (30.0, 5)])
def test_copies_count_as_in_the_original(seed, gamma, rounds):
    """Of equal distances the first medoid, and a medoid is its own even where another lies in its place."""
    points, labels = random_batch(seed, count=15, classes=5, spread=2.0)
    drawn = torch.randint(15, (8, 2), generator=torch.Generator().manual_seed(seed))
    for copy, original in drawn.tolist():
        points[copy] = points[original]
    value, _, _ = call(make("clustering", gamma=gamma, rounds=rounds), points, labels)
    assert float(value) == pytest.approx(float(clustering(points.double(), labels, gamma, rounds)), rel=1e-5, abs=1e-5)


def test_most_of_these_batches_have_a_loss():
    values = [call(make("clustering", gamma=3.0), *random_batch(s, count=15, spread=2.0))[0] for s in range(6)]
    assert sum(value > 0 for value in values) > 3


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_by_hand(gamma):
    """A class at 0 and 90 degrees, an image of another at 120: compact and wrong is {0}, {90, 120}."""
    points, labels = on_circle(0, 90, 120) * torch.tensor([[1.0], [2.0], [0.5]]), torch.tensor([0, 0, 1])
    loss = make("clustering", 2, 2, gamma=gamma)
    value, grad, _ = call(loss, points, labels)
    expected = math.sqrt(2) - 2 * math.sin(math.radians(15)) + gamma * (1 - WRONG)
    assert value.item() == pytest.approx(expected, rel=1e-6)
    # Moved along the circle a chord over the angle t changes by cos(t / 2).
    up, left = math.cos(math.radians(45)), math.cos(math.radians(15))
    along = on_circle(90, 180, 210)
    torch.testing.assert_close(grad, along * torch.tensor([[-up], [(up + left) / 2], [-2 * left]]))


def test_classes_that_are_clusters_have_no_loss_until_the_margin_outweighs_their_distance():
    points, labels = on_circle(0, 5, 180, 185), torch.tensor([0, 0, 1, 1])
    value, grad, _ = call(make("clustering", 2, 2, gamma=1.0), points, labels)
    assert value == 0 and (grad == 0).all()
    value, grad, _ = call(make("clustering", 2, 2, gamma=100.0), points, labels)
    assert value > 0 and grad.abs().sum() > 0


@pytest.mark.parametrize("seed", range(4))
def test_every_candidate_has_the_nmi_of_scikit_learn(seed):
    random = np.random.RandomState(seed)
    classes = np.unique(random.randint(0, 5, 20), return_inverse=True)[1]
    base, moved = random.randint(0, 4, 20), random.rand(6, 20) < 0.3
    moved[0], moved[1] = False, True
    found = Agreement(classes)(moved, base)
    expected = [nmi(classes, np.where(row, 9, base)) for row in moved]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert Agreement(classes).of(base) == pytest.approx(nmi(classes, base))


def test_nmi_of_single_clusters():
    several, one = np.array([0, 1, 1, 2]), np.zeros(4, dtype=int)
    assert Agreement(several).of(several) == pytest.approx(1)
    assert Agreement(several).of(one) == 0 and Agreement(one).of(several) == 0
    assert Agreement(one).of(one) == 1


def test_local_search_lowers_the_distances_and_keeps_medoids_apart():
    better = 0
    for seed in range(8):
        points = on_circle(*np.random.RandomState(seed).uniform(0, 360, 40), dtype=torch.float64)
        distances, agreement = torch.cdist(points, points).numpy(), Agreement(np.arange(40) % 4)
        start = greedy(distances, agreement, 0.0)
        end = refine(distances, agreement, 0.0, start, 5)
        assert len(set(start)) == len(set(end)) == 4
        energies = [distances[medoids].min(0).sum() for medoids in (start, end)]
        assert energies[1] <= energies[0] + 1e-9
        better += energies[1] < energies[0] - 1e-9
    assert better > 2


def test_a_medoid_is_its_own_also_among_copies():
    distances, medoids = np.zeros((4, 4)), np.array([2, 0, 3])
    assert assign(distances, medoids).tolist() == [1, 0, 0, 2]
    moved, base = swaps(distances, medoids, 1, np.array([0, 1]))
    # Image 1 falls to medoid 0 (number 0), unless it is itself the medoid of number 1.
    assert base.tolist()[1:] == [0, 0, 2] and moved.tolist() == [
        [True, False, False, False],
        [False, True, False, False],
    ]
    assert len(set(greedy(distances, Agreement(np.array([0, 1, 2, 2])), 1.0))) == 3


def test_copies_of_every_image_add_nothing_but_their_count():
    """Copies lie at distance 0, which has no slope; without a margin two of each have twice the loss."""
    points, labels = random_batch(0, count=24, spread=2.0)
    loss = make("clustering", gamma=0.0, rounds=0)
    value, grad, _ = call(loss, points.double(), labels)
    twice, grad_twice, _ = call(loss, points.double().repeat(2, 1), labels.repeat(2))
    assert twice.item() == pytest.approx(2 * value.item()) and value > 0
    torch.testing.assert_close(grad_twice[:24] + grad_twice[24:], 2 * grad)
