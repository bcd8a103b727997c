"""PFML against hand arithmetic and against the slow double loop."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import losses as pml

from pfml.losses.potential_field import PROXY_INITS, PotentialFieldLoss, PowerLaw, inverse_power
from oracle import assert_agrees, double_loop, power_law, zero_law


def on_circle(*degrees, dtype=torch.float32):
    angle = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angle.cos(), angle.sin()], 1).to(dtype)


def random_batch(seed, batch, dim, classes, spread=1.0, duplicates=False):
    """Points in a cone of half-angle about `spread`; with `duplicates` some coincide exactly."""
    g = torch.Generator().manual_seed(seed)
    axis = torch.nn.functional.normalize(torch.randn(1, dim, generator=g), dim=1)
    embeddings = axis + spread * torch.randn(batch, dim, generator=g) / math.sqrt(dim)
    embeddings *= 10 ** (4 * torch.rand(batch, 1, generator=g) - 2)
    labels = torch.randint(classes, (batch,), generator=g)
    if duplicates:
        embeddings[1::2] = embeddings[:1]
    return embeddings, labels, axis


# ------------------------------------------------------------------------------------------ by hand, in the plane

@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_three_embeddings_by_hand(dtype):
    # 0 and 90 degrees, class 0: d = sqrt 2; 60 degrees, class 1: d = 1 and 2 sin 15 = 0.5176
    loss = PotentialFieldLoss(2, 2, proxies_per_class=0, alpha=1, delta=0.5, delta_rep=0.8)
    value = loss(on_circle(0, 90, 60, dtype=dtype), torch.tensor([0, 0, 1]))
    attraction = 1 / 0.5 - 1 / math.sqrt(2)
    repulsion = 1 / (2 * math.sin(math.pi / 12)) - 1 / 0.8   # the pair at d = 1 is beyond delta_rep
    assert value.dtype == dtype
    assert float(value.detach()) == pytest.approx(2 * attraction + 2 * repulsion, rel=1e-6)


def test_forces_by_hand():
    # U = 2 (1/delta - 1/d), d = 2 sin(angle / 2): dU/d angle = cos(angle / 2) / (2 sin^2(angle / 2)) = 1 / sqrt 2
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
    # two embeddings at 0 (d = 0, constant), their proxy at 90 (d^2 = 2), the other proxy at 180 (d = 2, no force
    # on the embeddings) and at d^2 = 2 < 1.5^2 from the first proxy
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
    """At d = delta the attraction has begun and the repulsion has ended (Eqs. 1 and 2: inside means d < delta)."""
    points = torch.round(on_circle(0, degrees))
    for labels in (torch.tensor([0, 0]), torch.tensor([0, 1])):
        loss = PotentialFieldLoss(2, 2, proxies_per_class=0, delta=distance)
        assert_agrees(loss, points, labels, power_law(3.0, distance))
    same = torch.nn.Parameter(points.clone())
    PotentialFieldLoss(1, 2, 0, delta=math.sqrt(2))(same, torch.tensor([0, 0])).backward()
    assert same.grad.any() == (degrees == 90)


# ------------------------------------------------------------------------------------------ against the double loop

@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), batch=st.integers(2, 7), dim=st.integers(2, 12), classes=st.integers(1, 4),
       proxies=st.integers(0, 3), alpha=st.sampled_from([0.5, 1, 1.5, 2, 2.7, 3, 4, 5.5, 6, 8]),
       delta=st.floats(0.05, 0.6), ratio=st.sampled_from([1.0, 0.5, 2.0, 3.0]),
       spread=st.sampled_from([1.0, 0.3, 0.05]), duplicates=st.booleans())
def test_equals_the_double_loop(seed, batch, dim, classes, proxies, alpha, delta, ratio, spread, duplicates):
    embeddings, labels, axis = random_batch(seed, batch, dim, classes, spread, duplicates)
    loss = PotentialFieldLoss(classes, dim, proxies, alpha=alpha, delta=delta, delta_rep=ratio * delta)
    with torch.no_grad():
        loss.proxies.mul_(spread).add_(axis)
        if duplicates and proxies:
            loss.proxies[0, 0] = embeddings[0]
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
    assert float(loss(embeddings, labels)) == pytest.approx(float(small(embeddings, labels)) / 1e-4, rel=1e-3)


@pytest.mark.parametrize("option", [
    {"proxy_proxy": "repulsion"}, {"proxy_proxy": "none"}, {"normalize_proxies": False}, {"absent_proxies": False},
    {"proxy_proxy": "none", "absent_proxies": False}])
def test_switches_against_the_double_loop(option):
    embeddings, _, _ = random_batch(5, 6, 4, 5, spread=0.5)
    loss = PotentialFieldLoss(5, 4, 2, delta=0.4, delta_rep=0.9, **option)
    with torch.no_grad():
        loss.proxies.mul_(0.5).add_(embeddings[0] / embeddings[0].norm())
    assert_agrees(loss, embeddings, torch.tensor([0, 0, 1, 1, 3, 3]), power_law(3.0, 0.4, 0.9), **option)


@pytest.mark.parametrize("proxy_proxy, pairs", [("all", 12 * 11), ("repulsion", 12 * 11 - 3 * 2), ("none", 12 * 11 - 30)])
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


# ------------------------------------------------------------------------------------------ gradients

def test_gradcheck():
    embeddings, labels, _ = random_batch(7, 6, 3, 3, spread=0.8)
    loss = PotentialFieldLoss(3, 3, 2, delta=0.3, delta_rep=0.7).double()
    embeddings = embeddings.double().requires_grad_()

    def energy(z, p):
        return torch.func.functional_call(loss, {"proxies": p}, (z, labels))

    assert torch.autograd.gradcheck(energy, (embeddings, loss.proxies))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), alpha=st.floats(0, 8), exponent=st.integers(-30, 30),
       offset=st.sampled_from([0.0, 1e-7, 1e-4, 1e-3]))
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


# ------------------------------------------------------------------------------------------ precision and conventions

@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_field_is_float32_under_autocast_and_for_half_embeddings(half):
    embeddings, labels, _ = random_batch(10, 8, 16, 3, spread=0.2)
    loss = PotentialFieldLoss(3, 16, 2)
    plain = loss(embeddings, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(embeddings, labels)
    assert inside.dtype == torch.float32 and torch.equal(plain, inside)
    rounded = torch.nn.functional.normalize(embeddings).to(half).requires_grad_()
    value = loss(rounded, labels)
    value.backward()
    assert torch.equal(value, loss(rounded.detach().float(), labels)) and rounded.grad.dtype == half


def test_call_convention_of_pytorch_metric_learning():
    embeddings, labels, _ = random_batch(11, 8, 4, 3)
    loss = PotentialFieldLoss(3, 4, 2)
    triplets = tuple(torch.zeros(1, dtype=torch.int64) for _ in range(3))
    assert torch.equal(loss(embeddings, labels, triplets), loss(embeddings, labels, indices_tuple=None))
    both = pml.MultipleLosses([loss, pml.ContrastiveLoss()], weights=[1.0, 0.0])
    assert torch.allclose(both(embeddings, labels), loss(embeddings, labels))


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int64])
def test_any_integer_labels(dtype):
    embeddings, labels, _ = random_batch(12, 8, 4, 3)
    loss = PotentialFieldLoss(3, 4, 2)
    assert torch.equal(loss(embeddings, labels.to(dtype)), loss(embeddings, labels))


@pytest.mark.parametrize("alpha", [0.5, 1, 1.5, 2, 2.5, 3, 4, 6.5, 8, 12, 0.3, 13])
def test_inverse_power(alpha):
    d2 = torch.linspace(0.01, 4, 50, dtype=torch.float64)
    torch.testing.assert_close(inverse_power(d2, alpha), d2.pow(-alpha / 2), rtol=1e-13, atol=0)
    assert PowerLaw(alpha, 0.5, 0.7, 1e-3).attraction(torch.tensor([0.25], dtype=torch.float64))[0] == \
        pytest.approx(0, abs=1e-9 * 2**alpha)


# ------------------------------------------------------------------------------------------ proxies

@pytest.mark.parametrize("init", PROXY_INITS)
def test_proxy_shape_and_length(init):
    loss = PotentialFieldLoss(20, 64, 5, proxy_init=init)
    assert loss.proxies.shape == (20, 5, 64)
    length = float(loss.proxies.norm(dim=2).mean())
    assert length == pytest.approx(math.sqrt(2 * 64 / 100) if init == "kaiming" else 8.0, rel=0.1)


def test_free_proxies_start_on_the_scale_of_the_sphere():
    assert float(PotentialFieldLoss(20, 64, 5, normalize_proxies=False).proxies.norm(dim=2).mean()) \
        == pytest.approx(1, rel=0.1)


def test_data_proxies_are_embeddings_of_their_class():
    embeddings, labels = torch.randn(20, 4), torch.tensor([0] * 15 + [1] * 5)
    loss = PotentialFieldLoss(3, 4, 6, proxy_init="data")
    before = loss.proxies[2].detach().clone()
    loss.initialise_proxies(embeddings, labels, torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss.proxies.norm(dim=2)[:2], torch.full((2, 6), 2.0))
    nearest = torch.cdist(loss.proxies.detach()[:2].flatten(0, 1) / 2, torch.nn.functional.normalize(embeddings))
    assert nearest.amin(1).max() < 1e-3
    assert (labels[nearest.argmin(1)] == torch.tensor([0] * 6 + [1] * 6)).all()
    assert len(set(nearest[:6].argmin(1).tolist())) == 6, "without replacement where there are enough"
    assert torch.equal(loss.proxies[2], before), "a class without embeddings keeps its directions"
    again = PotentialFieldLoss(3, 4, 6, proxy_init="data")
    again.initialise_proxies(embeddings, labels, torch.Generator().manual_seed(0))
    assert torch.equal(again.proxies[:2], loss.proxies[:2])


def test_data_proxies_must_be_set_before_use_and_a_loaded_loss_counts():
    embeddings, labels, _ = random_batch(13, 8, 4, 2)
    loss = PotentialFieldLoss(2, 4, 2, proxy_init="data")
    with pytest.raises(RuntimeError, match="initialise_proxies"):
        loss(embeddings, labels)
    loss.initialise_proxies(embeddings, labels)
    value = loss(embeddings, labels)
    copy = PotentialFieldLoss(2, 4, 2, proxy_init="data")
    copy.load_state_dict(loss.state_dict())
    assert torch.equal(copy(embeddings, labels), value)


def test_no_proxies():
    embeddings, labels, _ = random_batch(14, 6, 4, 2)
    loss = PotentialFieldLoss(2, 4, 0, proxy_init="data")
    assert loss.proxies.shape == (2, 0, 4)
    optimiser = torch.optim.Adam(loss.parameters())
    loss(embeddings.requires_grad_(), labels).backward()
    optimiser.step()
    assert embeddings.grad.any()
    value, grad, _ = double_loop(embeddings, labels, loss.proxies, power_law(3.0, 0.2))
    torch.testing.assert_close(embeddings.grad.double(), grad, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------ bad input

def good():
    return {"embeddings": torch.randn(4, 3), "labels": torch.tensor([0, 0, 1, 1])}


@pytest.mark.parametrize("change, words", [
    ({"labels": torch.tensor([0, 0, 1, 2])}, ["labels", r"\[0, 2\]", r"\[0, 1\]"]),
    ({"labels": torch.tensor([-1, 0, 1, 1])}, ["labels", r"\[-1, 1\]"]),
    ({"labels": torch.tensor([0.0, 0, 1, 1])}, ["labels", "float32", "integer"]),
    ({"labels": torch.tensor([True, False, True, True])}, ["labels", "bool", "integer"]),
    ({"labels": [0, 0, 1, 1]}, ["labels", "list", "tensor"]),
    ({"labels": torch.tensor([0, 1])}, ["labels", r"\(2,\)", r"\(4,\)"]),
    ({"labels": torch.tensor([[0], [0], [1], [1]])}, ["labels", r"\(4, 1\)", r"\(4,\)"]),
    ({"embeddings": torch.randn(4, 5)}, ["embeddings", r"\(4, 5\)", r"\(B, 3\)"]),
    ({"embeddings": torch.randn(4, 3, 1)}, ["embeddings", r"\(4, 3, 1\)"]),
    ({"embeddings": torch.ones(4, 3, dtype=torch.int64)}, ["embeddings", "int64", "floating"]),
    ({"embeddings": torch.full((4, 3), float("nan"))}, ["embeddings", "NaN", "finite", "12"]),
    ({"embeddings": torch.full((4, 3), float("inf"))}, ["embeddings", "infinite"]),
    ({"embeddings": torch.randn(1, 3), "labels": torch.tensor([0])}, ["embeddings", "batch of 1", "at least 2"]),
])
def test_bad_input_is_named(change, words):
    loss = PotentialFieldLoss(2, 3, 1)
    with pytest.raises(ValueError) as error:
        loss(**(good() | change))
    for word in words:
        assert error.match(word)


def test_broken_proxies_are_named():
    loss = PotentialFieldLoss(2, 3, 1)
    with torch.no_grad():
        loss.proxies[1, 0, 2] = float("nan")
    with pytest.raises(ValueError, match=r"proxies .*\(1, 0, 2\)"):
        loss(**good())


@pytest.mark.parametrize("change, words", [
    ({"alpha": -1}, ["alpha=-1", ">= 0"]), ({"delta": 0}, ["delta=0", "> 0"]), ({"delta": -0.1}, ["delta=-0.1"]),
    ({"delta_rep": 0.0}, ["delta_rep=0", "> 0"]), ({"delta": float("nan")}, ["delta=nan"]),
    ({"delta": "wide"}, ["delta='wide'", "number"]), ({"eps": 0}, ["eps=0"]), ({"eps": 0.5}, ["eps=0.5", "delta_rep"]),
    ({"proxies_per_class": -1}, ["proxies_per_class=-1", ">= 0"]), ({"num_classes": 0}, ["num_classes=0", ">= 1"]),
    ({"embedding_dim": 2.5}, ["embedding_dim=2.5", "integer"]),
    ({"proxy_init": "zeros"}, ["proxy_init='zeros'", "random, kaiming, data"]),
    ({"reduction": "mean"}, ["reduction='mean'", "sum, pair_mean, anchor_mean"]),
    ({"proxy_proxy": "some"}, ["proxy_proxy='some'", "all, repulsion, none"]),
    ({"alpha_zero": "flat"}, ["alpha_zero='flat'", "log, linear"]),
])
def test_bad_settings_are_named(change, words):
    with pytest.raises(ValueError) as error:
        PotentialFieldLoss(**({"num_classes": 2, "embedding_dim": 3} | change))
    for word in words:
        assert error.match(word)
