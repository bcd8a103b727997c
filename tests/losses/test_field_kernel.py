"""The fast sum takes one of several paths through a tile; all agree with the double loop."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pfml.losses.field import repulsion
from pfml.losses.field.contrastive_field import ContrastiveFieldLoss
from pfml.losses.field.energy import field_energy
from pfml.losses.field.pair_law import squared_radius
from pfml.losses.field.potential_field import PotentialFieldLoss, PowerLaw
from tests.losses.scenes import scene
from tests.oracles.field import assert_agrees, double_loop, power_law, quadratic_law


@pytest.fixture
def paths(monkeypatch):
    """Counts the calls of each path through a tile."""
    seen = {"_dense": 0, "_pairs": 0, "float64": 0}

    def spy(name):
        method = getattr(repulsion.Repulsion, name)

        def counted(self, first, *rest):
            seen[name] += 1
            seen["float64"] += name == "_dense" and first.dtype == torch.float64
            return method(self, first, *rest)

        monkeypatch.setattr(repulsion.Repulsion, name, counted)

    for name in ("_dense", "_pairs"):
        spy(name)
    return seen


FORCED = {
    "as it comes": {},
    "as in large tiles": {"SURE_LIST": 0},
    "always a list": {"SHORT_LIST": 1.0},
    "lists in pieces": {"SHORT_LIST": 1.0, "LIST_ELEMENTS": 40},
    "always dense": {"SHORT_LIST": 0.0, "SURE_LIST": 0},
    "small tiles": {"TILE": {"cpu": 5}, "SURE_LIST": 0},
    "small dense tiles": {"SHORT_LIST": 0.0, "SURE_LIST": 0, "TILE": {"cpu": 5}},
}


@pytest.mark.parametrize("forced", FORCED)
@pytest.mark.parametrize("kind", ["cone", "cloud", "tight", "merged"])
@pytest.mark.parametrize("method", ["pfml", "pfml steep", "cpml"])
def test_every_path_equals_the_double_loop(method, kind, forced, monkeypatch):
    for name, value in FORCED[forced].items():
        monkeypatch.setattr(repulsion, name, value)
    embeddings, labels, proxies = scene(kind)
    delta, delta_rep = 0.2, 0.5
    if method == "cpml":
        loss, law = (
            ContrastiveFieldLoss(4, 8, 4, delta, delta_rep),
            quadratic_law("squared_hinge", delta, delta_rep),
        )
    else:
        alpha = 3.0 if method == "pfml" else 6.5
        loss, law = PotentialFieldLoss(4, 8, 4, alpha, delta, delta_rep), power_law(alpha, delta, delta_rep)
    loss.proxies.data = proxies
    assert_agrees(loss, embeddings, labels, law)


def test_the_paths_are_taken(paths, monkeypatch):
    monkeypatch.setattr(repulsion, "SURE_LIST", 0)
    loss = PotentialFieldLoss(4, 64, 4, delta_rep=0.5)
    embeddings, labels, loss.proxies.data = scene("cone", 64)
    loss(embeddings, labels)
    assert paths["_dense"] > 0, "a narrow cone fills the tile"
    monkeypatch.setattr(repulsion, "SHORT_LIST", 1.0)
    before = paths["_dense"]
    loss(embeddings, labels)
    assert paths["_pairs"] > 0 and paths["_dense"] == before
    assert paths["float64"] == 0
    monkeypatch.setattr(repulsion, "SHORT_LIST", 0.02)
    loss = PotentialFieldLoss(4, 8, 4, delta_rep=0.5)
    embeddings, labels, loss.proxies.data = scene("merged")
    loss(embeddings + torch.tensor([1.0, -1.0] * 6)[:, None], labels)  # two clumps: close for their mutual distance
    assert paths["float64"] > 0


@pytest.mark.parametrize("distance", [0.1, 0.01, 0.002, 0.0011, 0.0009, 0.0])
def test_a_close_pair_in_a_dense_tile_of_distant_ones(distance, monkeypatch):
    """There float32's 2 - 2 cos would leave one digit of d^2 or none."""
    monkeypatch.setattr(repulsion, "SHORT_LIST", 0.0)
    monkeypatch.setattr(repulsion, "SURE_LIST", 0)
    embeddings, labels, _ = scene("cloud", batch=20, seed=3)
    embeddings[1] = embeddings[0] / embeddings[0].norm()
    embeddings[1, 0] += distance
    loss = PotentialFieldLoss(4, 8, 0, delta=0.3, delta_rep=1.2)
    assert labels[0] != labels[1]
    assert_agrees(loss, embeddings, labels, power_law(3.0, 0.3, 1.2))


def test_float64_throughout():
    embeddings, labels, proxies = scene("cone")
    loss = PotentialFieldLoss(4, 8, 4, delta=0.2, delta_rep=0.5).double()
    loss.proxies.data = proxies.double()
    assert_agrees(loss, embeddings.double(), labels, power_law(3.0, 0.2, 0.5), rtol=1e-12)


def test_large_floor_and_large_radius():
    embeddings, labels, proxies = scene("cone")
    for delta_rep, eps in ((0.5, 0.3), (3.0, 1e-3)):
        loss = PotentialFieldLoss(4, 8, 4, delta=0.2, delta_rep=delta_rep, eps=eps)
        loss.proxies.data = proxies
        assert_agrees(loss, embeddings, labels, power_law(3.0, 0.2, delta_rep, eps))


def test_free_points_far_from_the_origin():
    embeddings, labels, proxies = scene("cone")
    loss = PotentialFieldLoss(4, 8, 4, delta=0.2, delta_rep=0.5, normalize_proxies=False)
    loss.proxies.data = proxies + 100
    assert_agrees(loss, embeddings, labels, power_law(3.0, 0.2, 0.5), normalize_proxies=False)


def nearest_strangers(points, labels):
    """Distances of the other-class pairs, in float64, ascending."""
    x = torch.nn.functional.normalize(points.double(), dim=1)
    a, b = torch.triu_indices(len(x), len(x), 1)
    return (x[a] - x[b]).norm(dim=1)[labels[a] != labels[b]].sort().values


@pytest.mark.parametrize("side", [-1e-9, 1e-9])
def test_a_pair_on_the_edge_of_a_dense_tile(side, monkeypatch):
    """The force jumps at delta_rep, so a pair a hair from it must not be judged by a rounded distance."""
    monkeypatch.setattr(repulsion, "SHORT_LIST", 0.0)
    monkeypatch.setattr(repulsion, "SURE_LIST", 0)
    for seed in range(8):
        embeddings, labels, _ = scene("cloud", seed=seed)
        delta_rep = float(nearest_strangers(embeddings, labels)[10]) * (1 + side)
        loss = PotentialFieldLoss(4, 8, 0, delta_rep=delta_rep)
        assert_agrees(loss, embeddings, labels, power_law(3.0, 0.2, delta_rep))


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that any operation returned."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for out in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(out, torch.Tensor):
                self.largest = max(self.largest, out.numel())
        return result


@pytest.mark.parametrize("kind", ["cone", "tight", "merged"])
@pytest.mark.parametrize("classes", [1, 25])
def test_nothing_of_size_n_squared_is_formed(kind, classes, monkeypatch):
    """Also with all points in one class, and when every pair is near: all arrays stay linear in n."""
    monkeypatch.setattr(repulsion, "TILE", {"cpu": 32})
    monkeypatch.setattr(repulsion, "LIST_ELEMENTS", 2**12)
    largest = {}
    for batch in (200, 800):
        embeddings, labels, _ = scene(kind, 8, classes, 0, batch)
        loss = PotentialFieldLoss(classes, 8, 0)
        with LargestTensor() as seen:
            loss(embeddings.requires_grad_(), labels).backward()
        largest[batch] = seen.largest
    assert largest[800] <= max(4 * largest[200], 800 * 8, 2**12, 2 * 32**2)


def test_terms_between_proxies_can_be_left_out():
    vectors = torch.nn.functional.normalize(torch.randn(9, 3, dtype=torch.float64), dim=1)
    classes = torch.tensor([0, 1, 2, 0, 0, 1, 1, 2, 2])
    law = PowerLaw(2.0, 0.3, 5.0, 1e-3)

    def energy(start, heads, **options):
        return float(field_energy(vectors[start:heads], vectors[heads:], classes[start:], law, **options))

    without = energy(0, 3, proxy_attraction=False, proxy_repulsion=False)
    assert without == pytest.approx(energy(0, 9) - energy(3, 9), rel=1e-12)
    attraction_only = energy(0, 3, proxy_repulsion=False)
    repulsion_only = energy(0, 3, proxy_attraction=False)
    assert attraction_only + repulsion_only == pytest.approx(energy(0, 9) + without, rel=1e-12)


@pytest.mark.parametrize("radius", [0.1, 0.2, 0.3, 1.0, math.sqrt(2), math.sqrt(0.8), 1e-3])
def test_squared_radius_keeps_the_order(radius):
    t = squared_radius(radius)
    assert math.sqrt(t) >= radius > math.sqrt(math.nextafter(t, 0))


def test_order_of_the_points_does_not_matter():
    embeddings, labels, proxies = scene("cone")
    loss = PotentialFieldLoss(4, 8, 4, delta_rep=0.5)
    loss.proxies.data = proxies
    shuffle = torch.randperm(len(labels))
    a, b = loss(embeddings, labels), loss(embeddings[shuffle], labels[shuffle])
    assert float(a.detach()) == pytest.approx(float(b.detach()), rel=1e-6)


def test_double_loop_is_the_literal_equation_by_hand():
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    value, grad, _ = double_loop(z, torch.tensor([0, 0, 1]), torch.empty(2, 0, 2), power_law(2, 0.5, 1.8))
    # d^2 = 2 within class 0; d^2 = 2 and d = 2 > 1.8 across
    assert value == pytest.approx(2 * (1 / 0.25 - 1 / 2) + 2 * (1 / 2 - 1 / 1.8**2))
    assert grad.shape == (3, 2)


def test_a_pair_counts_alike_in_both_directions_of_a_diagonal_tile(monkeypatch):
    """x y and y x round differently; a threshold between the two must not list one and sum the other."""
    monkeypatch.setattr(repulsion, "SURE_LIST", 0)
    monkeypatch.setattr(repulsion, "SHORT_LIST", 0.2)
    seen = []
    done = repulsion.Repulsion._distances

    def spy(self, x_r, x_c, rows, columns, mixed):
        d2, size = done(self, x_r, x_c, rows, columns, mixed)
        seen.append(rows != columns or torch.equal(d2, d2.T))
        return d2, size

    monkeypatch.setattr(repulsion.Repulsion, "_distances", spy)
    for seed in range(4):
        embeddings, labels, proxies = scene("cone", 64, 30, 10, 60, seed=seed)
        loss = PotentialFieldLoss(30, 64, 10, delta_rep=0.5)
        loss.proxies.data = proxies
        loss(embeddings, labels)
    assert len(seen) >= 8 and all(seen)


def test_points_of_one_class_never_repel_however_large():
    loss = PotentialFieldLoss(2, 3, 2, delta=0.5, delta_rep=0.5, normalize_proxies=False)
    for scale in (1e2, 1e3, 3e3):
        loss.proxies.data = torch.tensor([[[0.1, 0, 0], [0.2, 0, 0]], [[0, scale, 0], [0, scale, 0.3]]])
        embeddings, labels = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
        assert_agrees(loss, embeddings, labels, power_law(3.0, 0.5), normalize_proxies=False)


def test_free_proxies_may_be_none():
    loss = PotentialFieldLoss(2, 3, 0, normalize_proxies=False)
    assert_agrees(loss, torch.randn(6, 3), torch.arange(6) % 2, power_law(3.0, 0.2))


def test_classes_are_told_apart_by_all_their_digits():
    loss = PotentialFieldLoss(2**24 + 2, 3, 0)
    value = loss(torch.ones(2, 3) + 0.01 * torch.eye(2, 3), torch.tensor([2**24, 2**24 + 1]))
    assert value > 0


@pytest.mark.parametrize("alpha, eps, spread", [(12, 1e-3, 0.002), (11, 1e-3, 0.001), (8, 1e-5, 1e-4)])
def test_forces_beyond_the_range_of_float32_stay_finite(alpha, eps, spread):
    torch.manual_seed(0)
    loss = PotentialFieldLoss(40, 64, 5, alpha=alpha, eps=eps, reduction="pair_mean")
    axis = torch.randn(64) / 8
    loss.proxies.data = axis + spread * torch.randn(40, 5, 64) / 8
    embeddings = (axis + spread * torch.randn(60, 64) / 8).requires_grad_()
    loss(embeddings, torch.arange(60) % 40).backward()
    assert torch.isfinite(embeddings.grad).all() and torch.isfinite(loss.proxies.grad).all()
