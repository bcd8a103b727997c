"""PA+niV: its flow by hand and against the Jacobian, the loss by hand and against the authors' arithmetic in loops."""

import math

import numpy as np
import pytest
import torch

from pfml.losses.baselines.pa_niv import CouplingFlow
from tests.losses.baseline_cases import CLASSES, DIM, assert_agrees, call, make, random_batch
from tests.losses.scenes import on_circle
from tests.oracles.flow import through
from tests.oracles.methods import pa_niv


def spread_out(module, factor=3.0):
    """Weights far from their start, where the flow hardly bends."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(factor)
    return module


def flow_of(dim, blocks=3, seed=0):
    torch.manual_seed(seed)
    return spread_out(CouplingFlow(dim, 4, blocks, depth=3, width=9, clamp=2.0)).double()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("classes", [CLASSES, 3])
@pytest.mark.parametrize("dim", [DIM, 5])
def test_value_and_gradients_equal_the_authors(seed, classes, dim):
    loss = make("pa_niv", dim=dim, seed=seed, weight=0.3, scale=5.0, flow_rate=0.1)
    spread_out(loss.flow, 1.5)
    batch = random_batch(seed, count=11, dim=dim, classes=classes)
    assert 0.5 < call(loss, *batch)[0] < 100
    assert_agrees(
        loss, lambda j, x, y: pa_niv(j, x, y, [], weight=0.3, margin=0.1, scale=5.0, clamp=2.0), *batch, rtol=1e-7
    )


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_the_determinant_is_that_of_the_jacobian(dim):
    flow, x, condition = flow_of(dim), torch.randn(4, dim).double(), torch.randn(4, 4).double()
    z, log_det = flow(x, condition)
    assert z.shape == (4, dim) and log_det.abs().max() > 0.1
    for row in range(4):
        one = torch.autograd.functional.jacobian(lambda v, c=condition[row]: flow(v[None], c[None])[0][0], x[row])
        assert torch.linalg.slogdet(one)[1].item() == pytest.approx(log_det[row].item(), abs=1e-9)
        by_loops = through(flow, x[row], condition[row], 2.0)
        torch.testing.assert_close(z[row], by_loops[0])
        torch.testing.assert_close(log_det[row], by_loops[1])


def test_a_block_by_hand():
    """Constant networks: both axes change places, then each is scaled and shifted."""
    flow = CouplingFlow(2, 1, 1, depth=2, width=3, clamp=2.0)
    flow.orders.copy_(torch.tensor([[1, 0]]))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.zero_()
        flow.to_first[0][-1].bias.copy_(torch.tensor([1.0, 0.5]))  # atan(1) = pi / 4
        flow.to_second[0][-1].bias.copy_(torch.tensor([0.0, -3.0]))
    z, log_det = flow(torch.tensor([[7.0, 11.0]]), torch.zeros(1, 1))
    scale = 2 * 0.636 * math.pi / 4
    torch.testing.assert_close(z, torch.tensor([[11 * math.exp(scale) + 0.5, 7.0 - 3.0]]))
    assert log_det.item() == pytest.approx(scale, rel=1e-6)


def test_scales_are_clamped_and_the_condition_counts():
    flow, x = spread_out(flow_of(6, blocks=1), 50.0), torch.randn(3, 6).double()
    log_det = flow(x, torch.randn(3, 4).double())[1]
    assert log_det.abs().max() < 6 * 2.0 * 0.636 * math.pi / 2
    flow = flow_of(6)
    assert not torch.allclose(flow(x, torch.zeros(3, 4).double())[0], flow(x, torch.ones(3, 4).double())[0])


def test_the_loss_without_its_flow_by_hand():
    """Proxies at 0 and 90 degrees, images at 0, 60 and 90: cosines 1, 1/2, 0 and 0, 3^0.5 / 2, 1."""
    loss = make("pa_niv", 2, 2, blocks=0, weight=0.5, margin=0.1, scale=2.0)
    with torch.no_grad():
        loss.proxies.copy_(on_circle(0, 90)[:, None] * 3)
    value = call(loss, on_circle(0, 60, 90) * 2, torch.tensor([0, 0, 1]))[0]
    first = math.log(1 + math.exp(-2 * 0.9) + math.exp(-2 * 0.4))
    second = math.log(1 + math.exp(-2 * 0.9))
    push = [math.log(1 + math.exp(2 * 0.1)), math.log(1 + math.exp(2 * 0.1) + math.exp(2 * (0.75**0.5 + 0.1)))]
    expected = math.exp(0.5) + 0.5 * ((2 * first + second) / 3 + sum(push) / 2)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_permutations_are_the_same_in_every_run_and_part_of_its_state():
    one, other = make("pa_niv", seed=0), make("pa_niv", seed=1)
    expected = [np.random.RandomState(k).permutation(DIM).tolist() for k in range(2)]
    assert one.flow.orders.tolist() == other.flow.orders.tolist() == expected and expected[0] != expected[1]
    state = one.state_dict()
    state["flow.orders"] = state["flow.orders"].flip(1)
    other.load_state_dict(state)
    assert other.flow.orders.tolist() == [order[::-1] for order in expected]
    batch = random_batch(0)
    assert not torch.equal(call(one, *batch)[0], call(other, *batch)[0])


def test_the_flow_learns_at_its_own_rate():
    loss = make("pa_niv", flow_rate=0.02)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.1, eps=1e-30)
    last = loss.flow.to_first[0][-1]
    bias, proxies = last.bias.detach().clone(), loss.proxies.detach().clone()
    call(loss, *random_batch(0))
    optimizer.step()
    torch.testing.assert_close((loss.proxies - proxies).abs(), torch.full_like(proxies, 0.1))
    torch.testing.assert_close((last.bias - bias).abs(), torch.full_like(bias, 0.002), rtol=1e-3, atol=1e-6)


def test_a_flow_needs_two_axes():
    with pytest.raises(ValueError, match="embedding_dim=1"):
        make("pa_niv", dim=1)
