"""PFML against hand arithmetic and against the slow double loop."""

import math
from unittest import mock

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pfml.losses.field import repulsion
from pfml.losses.field.potential_field import PotentialFieldLoss, inverse_powers
from tests.losses.scenes import on_circle
from tests.oracles.field import assert_agrees, power_law, random_batch, zero_law

# --- by hand, in the plane


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_three_embeddings_by_hand(dtype):
    # 0 and 90 degrees, class 0: d = sqrt 2; 60 degrees, class 1: d = 1 and 2 sin 15 = 0.5176
    loss = PotentialFieldLoss(2, 2, proxies_per_class=0, alpha=1, delta=0.5, delta_rep=0.8)
    value = loss(on_circle(0, 90, 60, dtype=dtype), torch.tensor([0, 0, 1]))
    attraction = 1 / 0.5 - 1 / math.sqrt(2)
    repulsion = 1 / (2 * math.sin(math.pi / 12)) - 1 / 0.8  # the pair at d = 1 is beyond delta_rep
    assert value.dtype == dtype
    assert float(value.detach()) == pytest.approx(2 * attraction + 2 * repulsion, rel=1e-6)


def test_forces_by_hand():
    # U = 2 (1/delta - 1/d) with d = 2 sin(a/2): dU/da = cos(a/2) / (2 sin^2(a/2)) = 1 / sqrt 2 at 90 degrees
    loss = PotentialFieldLoss(1, 2, proxies_per_class=0, alpha=1, delta=0.5)
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 2.0]], requires_grad=True)
    loss(embeddings, torch.tensor([0, 0])).backward()
    pull = 1 / math.sqrt(2)
    torch.testing.assert_close(embeddings.grad, torch.tensor([[0.0, -pull], [-pull / 2, 0.0]]))  # half: norm is 2


def test_proxies_take_part_like_embeddings():
    loss = PotentialFieldLoss(2, 2, proxies_per_class=1, alpha=2, delta=0.5, delta_rep=1.5)
    with torch.no_grad():
        loss.proxies[:, 0] = 7 * on_circle(90, 180)
    value = loss(on_circle(0, 0), torch.tensor([0, 0]))
    # two embeddings at 0 (d = 0, constant), their proxy at 90 (d^2 = 2), the other proxy at 180 (d = 2 is
    # beyond delta_rep of the embeddings) and at d^2 = 2 < 1.5^2 from the first proxy
    attraction = 2 * (1 / 0.25 - 1 / 2)
    repulsion = 1 / 2 - 1 / 2.25
    assert float(value.detach()) == pytest.approx(2 * (attraction + repulsion), rel=1e-6)


def test_a_force_free_configuration_has_energy_zero():
    loss = PotentialFieldLoss(2, 2, proxies_per_class=3)
    with torch.no_grad():
        loss.proxies[0], loss.proxies[1] = on_circle(0, 1, 2), on_circle(180, 181, 182)
    embeddings = on_circle(3, 183).requires_grad_()
    value = loss(embeddings, torch.tensor([0, 1]))
    value.backward()
    assert float(value.detach()) == 0
    assert not embeddings.grad.any() and not loss.proxies.grad.any()


@pytest.mark.parametrize("degrees, distance", [(90, math.sqrt(2)), (180, 2.0)])
def test_exactly_at_the_radius(degrees, distance):
    """At d = delta attraction has begun and repulsion has ended (Eqs. 1 and 2: inside means d < delta)."""
    points = torch.round(on_circle(0, degrees))
    for labels in (torch.tensor([0, 0]), torch.tensor([0, 1])):
        loss = PotentialFieldLoss(2, 2, proxies_per_class=0, delta=distance)
        assert_agrees(loss, points, labels, power_law(3.0, distance))
    same = torch.nn.Parameter(points.clone())
    PotentialFieldLoss(1, 2, 0, delta=math.sqrt(2))(same, torch.tensor([0, 0])).backward()
    assert same.grad.any() == (degrees == 90)


# --- against the double loop


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(2, 7),
    dim=st.integers(2, 12),
    classes=st.integers(1, 4),
    proxies=st.integers(0, 3),
    alpha=st.sampled_from([0.5, 1, 1.5, 2, 2.7, 3, 4, 5.5, 6, 8]),
    delta=st.floats(0.05, 0.6),
    ratio=st.sampled_from([1.0, 0.5, 2.0, 3.0]),
    spread=st.sampled_from([1.0, 0.3, 0.05]),
    duplicates=st.booleans(),
    sure=st.sampled_from([64, 0]),
)
@example(
    seed=5, batch=5, dim=3, classes=2, proxies=0, alpha=4, delta=0.5, ratio=1.0, spread=0.3, duplicates=False, sure=0
)
def test_equals_the_double_loop(seed, batch, dim, classes, proxies, alpha, delta, ratio, spread, duplicates, sure):
    """With few pairs, which are listed, and done in the way of many (sure = 0)."""
    embeddings, labels, axis = random_batch(seed, batch, dim, classes, spread, duplicates)
    loss = PotentialFieldLoss(classes, dim, proxies, alpha=alpha, delta=delta, delta_rep=ratio * delta)
    with torch.no_grad():
        loss.proxies.mul_(spread).add_(axis)
        if duplicates and proxies:
            loss.proxies[0, 0] = embeddings[0]
    with mock.patch.object(repulsion, "SURE_LIST", sure):
        assert_agrees(loss, embeddings, labels, power_law(alpha, delta, ratio * delta))


@pytest.mark.parametrize("form", ["log", "linear"])
def test_alpha_zero(form):
    embeddings, labels, _ = random_batch(3, 8, 4, 3, spread=0.4, duplicates=True)
    loss = PotentialFieldLoss(3, 4, 2, alpha=0, delta=0.3, delta_rep=0.5, alpha_zero=form)
    assert_agrees(loss, embeddings, labels, zero_law(form, 0.3, 0.5))


def test_log_is_the_limit_of_small_alpha():
    embeddings, labels, _ = random_batch(4, 8, 4, 3, spread=0.4)
    loss = PotentialFieldLoss(3, 4, 0, alpha=0, delta=0.3)
    small = PotentialFieldLoss(3, 4, 0, alpha=1e-4, delta=0.3)
    log, power = loss(embeddings, labels).detach(), small(embeddings, labels).detach()
    assert float(log) == pytest.approx(float(power) / 1e-4, rel=1e-3)


@pytest.mark.parametrize(
    "option",
    [
        {"proxy_proxy": "repulsion"},
        {"proxy_proxy": "none"},
        {"normalize_proxies": False},
        {"absent_proxies": False},
        {"proxy_proxy": "none", "absent_proxies": False},
    ],
)
def test_switches_against_the_double_loop(option):
    embeddings, _, _ = random_batch(5, 6, 4, 5, spread=0.5)
    loss = PotentialFieldLoss(5, 4, 2, delta=0.4, delta_rep=0.9, **option)
    with torch.no_grad():
        loss.proxies.mul_(0.5).add_(embeddings[0] / embeddings[0].norm())
    assert_agrees(loss, embeddings, torch.tensor([0, 0, 1, 1, 3, 3]), power_law(3.0, 0.4, 0.9), **option)


@pytest.mark.parametrize(
    "proxy_proxy, pairs", [("all", 12 * 11), ("repulsion", 12 * 11 - 3 * 2), ("none", 12 * 11 - 30)]
)
def test_reductions(proxy_proxy, pairs):
    embeddings, labels, _ = random_batch(6, 6, 4, 3)
    values = {}
    for reduction in ("sum", "pair_mean", "anchor_mean"):
        torch.manual_seed(0)
        loss = PotentialFieldLoss(3, 4, 2, reduction=reduction, proxy_proxy=proxy_proxy, delta_rep=0.8)
        values[reduction] = float(loss(embeddings, labels).detach())
    assert values["sum"] > 0
    assert values["pair_mean"] == pytest.approx(values["sum"] / pairs, rel=1e-6)
    assert values["anchor_mean"] == pytest.approx(values["sum"] / 12, rel=1e-6)


# --- gradients


def test_gradcheck():
    embeddings, labels, _ = random_batch(7, 6, 3, 3, spread=0.8)
    loss = PotentialFieldLoss(3, 3, 2, delta=0.3, delta_rep=0.7).double()
    embeddings = embeddings.double().requires_grad_()

    def energy(z, p):
        return torch.func.functional_call(loss, {"proxies": p}, (z, labels))

    assert torch.autograd.gradcheck(energy, (embeddings, loss.proxies))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    alpha=st.floats(0, 8),
    exponent=st.integers(-30, 30),
    offset=st.sampled_from([0.0, 1e-7, 1e-4, 1e-3]),
)
@example(seed=0, alpha=8.0, exponent=-30, offset=1e-3)  # beyond the range of float32
def test_gradients_are_always_finite(seed, alpha, exponent, offset):
    """Any scale, points on top of each other or nearly, and a zero vector."""
    g = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(1, 3, generator=g) + offset * torch.randn(6, 3, generator=g)
    loss = PotentialFieldLoss(3, 3, 2, alpha=alpha)
    with torch.no_grad():
        loss.proxies[0] = embeddings[:2]
        embeddings *= 10.0**exponent
        embeddings[5] = 0
        loss.proxies[2, 0] = 0
    embeddings.requires_grad_()
    value = loss(embeddings, torch.tensor([0, 1, 2, 0, 1, 2]))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(embeddings.grad).all() and torch.isfinite(loss.proxies.grad).all()
    assert not embeddings.grad[5].any()


def test_gradients_reach_embeddings_and_proxies_and_lower_the_energy():
    torch.manual_seed(0)
    embeddings, labels, _ = random_batch(8, 12, 6, 3)
    embeddings.requires_grad_()
    loss = PotentialFieldLoss(3, 6, 2)
    optimiser = torch.optim.Adam([embeddings, *loss.parameters()], lr=0.01)
    energies = []
    for _ in range(30):
        optimiser.zero_grad()
        energy = loss(embeddings, labels)
        energy.backward()
        assert embeddings.grad.any() and loss.proxies.grad.any()
        optimiser.step()
        energies.append(float(energy.detach()))
    assert energies[-1] < energies[0]


def test_gradient_scales_with_the_upstream_gradient():
    embeddings, labels, _ = random_batch(9, 6, 4, 2)
    loss = PotentialFieldLoss(2, 4, 1)
    (once,) = torch.autograd.grad(loss(embeddings.requires_grad_(), labels), embeddings)
    (thrice,) = torch.autograd.grad(3 * loss(embeddings, labels), embeddings)
    torch.testing.assert_close(thrice, 3 * once)


@pytest.mark.parametrize("alpha", [0.5, 1, 1.5, 2, 2.5, 3, 4, 6.5, 8, 12, 0.3, 13])
def test_inverse_powers(alpha):
    d2 = torch.linspace(0.01, 4, 50, dtype=torch.float64)
    power, inverse = torch.empty_like(d2), torch.empty_like(d2)
    inverse_powers(d2, alpha, power, inverse)
    torch.testing.assert_close(power, d2.pow(-alpha / 2), rtol=1e-13, atol=0)
    torch.testing.assert_close(inverse, 1 / d2, rtol=1e-13, atol=0)
