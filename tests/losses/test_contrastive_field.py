"""CPML against hand arithmetic and against the slow double loop."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pfml.losses.field.contrastive_field import ContrastiveFieldLoss, Repulsion
from tests.losses.scenes import on_circle
from tests.oracles.field import assert_agrees, quadratic_law


@pytest.mark.parametrize("form, repulsion", [("squared_hinge", (1.2 - 1) ** 2), ("mirror", 1.2**2 - 1)])
def test_three_embeddings_by_hand(form, repulsion):
    # 0 and 90 degrees, class 0: d^2 = 2; 150 degrees, class 1: d = 1 from 90 degrees, beyond delta_rep from 0
    loss = ContrastiveFieldLoss(2, 2, proxies_per_class=0, delta=0.5, delta_rep=1.2, repulsion=form)
    value = loss(on_circle(0, 90, 150), torch.tensor([0, 0, 1]))
    assert float(value.detach()) == pytest.approx(2 * (2 - 0.25) + 2 * repulsion, rel=1e-6)


def test_attraction_grows_with_distance_unlike_pfml():
    forces = []
    for degrees in (60, 120):
        embeddings = on_circle(0, degrees).requires_grad_()
        ContrastiveFieldLoss(1, 2, proxies_per_class=0, delta=0.5)(embeddings, torch.tensor([0, 0])).backward()
        forces.append(float(embeddings.grad[0].norm()))
    # U = 2 d^2, d^2 = 2 - 2 cos: dU/d angle = 4 sin
    assert forces == pytest.approx([4 * math.sin(math.pi / 3)] * 2, rel=1e-5)
    assert forces[0] / math.cos(math.pi / 6) < forces[1] / math.cos(math.pi / 3), "along the chord it is 4 d"


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(2, 7),
    dim=st.integers(2, 12),
    classes=st.integers(1, 4),
    proxies=st.integers(0, 3),
    form=st.sampled_from(get_args(Repulsion)),
    delta=st.floats(0.05, 0.6),
    ratio=st.sampled_from([1.0, 0.5, 2.0]),
    spread=st.sampled_from([1.0, 0.3, 0.05]),
    duplicates=st.booleans(),
)
@example(  # one pair, a hair inside delta_rep
    seed=1579,
    batch=2,
    dim=3,
    classes=3,
    proxies=0,
    form="squared_hinge",
    delta=0.298828125,
    ratio=2.0,
    spread=1.0,
    duplicates=False,
)
def test_equals_the_double_loop(seed, batch, dim, classes, proxies, form, delta, ratio, spread, duplicates):
    g = torch.Generator().manual_seed(seed)
    axis = torch.randn(dim, generator=g)
    axis /= axis.norm()
    embeddings = axis + spread * torch.randn(batch, dim, generator=g) / math.sqrt(dim)
    if duplicates:
        embeddings[1::2] = embeddings[:1]
    loss = ContrastiveFieldLoss(classes, dim, proxies, delta, ratio * delta, repulsion=form)
    with torch.no_grad():
        loss.proxies.mul_(spread).add_(axis)
    assert_agrees(
        loss,
        embeddings,
        torch.randint(classes, (batch,), generator=g),
        quadratic_law(form, delta, ratio * delta),
    )


def test_shares_the_switches_of_pfml():
    torch.manual_seed(0)
    embeddings, labels = torch.randn(8, 4), torch.arange(8) % 2
    loss = ContrastiveFieldLoss(3, 4, 2, proxy_proxy="none", absent_proxies=False, delta_rep=1.0)
    assert_agrees(
        loss,
        embeddings,
        labels,
        quadratic_law("squared_hinge", 0.2, 1.0),
        proxy_proxy="none",
        absent_proxies=False,
    )
    data = ContrastiveFieldLoss(3, 4, 2, proxy_init="data")
    with pytest.raises(RuntimeError, match="initialize_proxies"):
        data(embeddings, labels)
    data.initialize_proxies(embeddings, labels)
    assert torch.isfinite(data(embeddings, labels, None))


@pytest.mark.parametrize("form", get_args(Repulsion))
def test_gradcheck(form):
    torch.manual_seed(0)
    loss = ContrastiveFieldLoss(2, 3, 2, delta=0.3, delta_rep=0.8, repulsion=form).double()
    embeddings = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 0, 1, 1])
    assert torch.autograd.gradcheck(
        lambda z, p: torch.func.functional_call(loss, {"proxies": p}, (z, labels)), (embeddings, loss.proxies)
    )


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"repulsion='hinge'.*squared_hinge, mirror"):
        ContrastiveFieldLoss(2, 3, repulsion="hinge")
    with pytest.raises(ValueError, match=r"delta=0.*> 0"):
        ContrastiveFieldLoss(2, 3, delta=0)
    with pytest.raises(ValueError, match="delta='wide'"):
        ContrastiveFieldLoss(2, 3, delta="wide")
    with pytest.raises(TypeError, match="alpha"):
        ContrastiveFieldLoss(2, 3, alpha=3.0)
