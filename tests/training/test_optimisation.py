"""Groups, rates, clipping, frozen parts and averages, each on a module small enough to check by hand."""

import itertools
import math

import pytest
import torch
from torch import nn

from pfml.losses import LOSSES, build_loss
from pfml.settings.load import load_params
from pfml.settings.losses import LOSS_SETTINGS
from pfml.training.optimizer import Average, build_optimizer, clip_gradients, drop_gradients, learning_rate, set_rates
from tests.conftest import ROOT

RECIPE = {
    "optimizer": "adamw", "adam_eps": 1e-8, "momentum": 0.0, "lr": 0.1, "proxy_lr": 2.0, "weight_decay": 0.5,
    "decay_norms": True, "clip_norm": 0.0, "clip_value": 0.0, "clip_proxies": False,
}  # fmt: skip


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.fixture
def loss():
    return build_loss("pfml", 3, 2, proxies_per_class=2)


def recipe(**changes):
    return RECIPE | changes


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].trains and not LOSSES[name].head])
def test_every_parameter_of_every_loss_is_in_one_group_and_receives_gradient(model, name):
    params = load_params(ROOT / "params.yaml")
    given = (
        params.loss.model_dump() | {"proxy_init": "random"} if name in ("pfml", "cpml") else params.baseline[name].loss
    )
    settings = {key: value for key, value in given.items() if key in LOSS_SETTINGS[name].model_fields}
    loss = build_loss(name, 5, 2, **settings)
    optimizer = build_optimizer(model, loss, recipe())
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    everything = [*model.parameters(), *loss.parameters()]
    assert sorted(map(id, grouped)) == sorted(map(id, everything))
    labels = torch.arange(20) % 5
    loss(model(torch.randn(20, 3, generator=torch.Generator().manual_seed(1))), labels).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.parameters()), name


def test_rates_and_decay_of_the_groups(model, loss):
    optimizer = build_optimizer(model, loss, recipe(decay_norms=False))
    rows = [(len(g["params"]), g["peak_lr"], g["weight_decay"]) for g in optimizer.param_groups]
    assert rows == [(2, 0.1, 0.5), (4, 0.1, 0.0), (1, 2.0, 0.0)]  # two matrices; biases and normalisation; proxies
    set_rates(optimizer, 0.5)
    assert [g["lr"] for g in optimizer.param_groups] == [0.05, 0.05, 1.0]


def test_a_head_has_a_rate_of_its_own_where_it_is_set(loss):
    network = torch.nn.Sequential()
    network.add_module("backbone", torch.nn.Linear(3, 4))
    network.add_module("head", torch.nn.Linear(4, 2))
    optimizer = build_optimizer(network, loss, recipe(head_lr=0.7, decay_norms=False))
    rows = [(len(g["params"]), g["peak_lr"], g["weight_decay"]) for g in optimizer.param_groups]
    assert rows == [(1, 0.1, 0.5), (1, 0.7, 0.5), (1, 0.1, 0.0), (1, 0.7, 0.0), (1, 2.0, 0.0)]
    assert optimizer.param_groups[1]["params"][0] is network.head.weight


@pytest.mark.parametrize("kind", ["adamw", "adam", "rmsprop"])
def test_decay_is_coupled_for_adam_and_rmsprop_and_decoupled_for_adamw(loss, kind):
    """With no gradient of its own, a weight of 1 shrinks by lr * decay (decoupled), or the decay becomes the gradient,
    which Adam and RMSprop scale to a step of lr, whatever its size."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = build_optimizer(model, loss, recipe(optimizer=kind))
    set_rates(optimizer, 1.0)
    model.weight.grad = torch.zeros(1, 1)
    optimizer.step()
    step = {"adamw": 0.1 * 0.5, "adam": 0.1, "rmsprop": 0.1 / math.sqrt(0.01)}[kind]
    assert model.weight.item() == pytest.approx(1 - step, abs=1e-5)


def test_the_epsilon_is_that_of_the_recipe(model, loss):
    for kind in ("adamw", "adam", "rmsprop"):
        assert build_optimizer(model, loss, recipe(optimizer=kind, adam_eps=1.0)).defaults["eps"] == 1.0


def test_momentum_is_of_rmsprop(loss):
    """Two steps with gradient 1: v is 0.01 and then 0.0199, the buffer 1/sqrt(v) plus momentum times what it was."""
    model = nn.Linear(1, 1, bias=False)
    for momentum, rest in ((0.9, 0.9), (0.0, 0.0)):
        nn.init.zeros_(model.weight)
        optimizer = build_optimizer(model, loss, recipe(optimizer="rmsprop", momentum=momentum, weight_decay=0.0))
        set_rates(optimizer, 1.0)
        for _ in range(2):
            model.weight.grad = torch.ones(1, 1)
            optimizer.step()
        first, second = 1 / 0.1, 1 / math.sqrt(0.0199)
        assert model.weight.item() == pytest.approx(-0.1 * (first + second + rest * first), rel=1e-5)
    for kind in ("adam", "adamw"):
        assert "momentum" not in build_optimizer(model, loss, recipe(optimizer=kind, momentum=0.9)).defaults


def test_learning_rate_rises_then_falls_to_zero():
    rates = [learning_rate(step, 100, 0.1, "cosine") for step in range(100)]
    assert rates[0] == pytest.approx(1 / 11) and rates[9] == pytest.approx(10 / 11) and max(rates) == rates[10] == 1
    assert all(a >= b for a, b in itertools.pairwise(rates[10:])) and 0 < rates[-1] < 0.001
    assert rates[55] == pytest.approx(0.5 * (1 + math.cos(math.pi * 45 / 90)))
    assert {learning_rate(step, 100, 0.0, "none") for step in range(100)} == {1.0}


def test_the_step_schedule_drops_every_so_many_steps():
    rates = [learning_rate(step, 100, 0.0, "step", drop_every=40, drop_to=0.25, drops=1) for step in range(100)]
    assert rates == [1.0] * 40 + [0.25] * 60, "once"
    rates = [learning_rate(step, 100, 0.0, "step", drop_every=40, drop_to=0.25) for step in range(100)]
    assert rates == [1.0] * 40 + [0.25] * 40 + [0.0625] * 20


def gradients(module, value):
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, value)


def test_clipping_by_norm_and_by_value(model, loss):
    gradients(model, 3.0)
    gradients(loss, 3.0)
    clip_gradients(model, loss, recipe(clip_norm=1.0))
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert norm == pytest.approx(1.0, abs=1e-5) and loss.proxies.grad.unique().item() == 3
    clip_gradients(model, loss, recipe(clip_norm=1.0, clip_proxies=True))
    assert loss.proxies.grad.norm() == pytest.approx(1.0, abs=1e-5)  # by itself, not together with the network
    gradients(model, -30.0)
    clip_gradients(model, loss, recipe(clip_value=10.0))
    assert {p.grad.unique().item() for p in model.parameters()} == {-10.0}
    gradients(model, 5.0)
    clip_gradients(model, loss, recipe())
    assert {p.grad.unique().item() for p in model.parameters()} == {5.0}


def test_a_part_without_gradients_stays_with_its_moments(model, loss):
    optimizer = build_optimizer(model, loss, recipe())
    set_rates(optimizer, 1.0)
    before = [p.detach().clone() for p in model.parameters()]
    gradients(model, 1.0)
    drop_gradients(model[0])
    clip_gradients(model, loss, recipe(clip_norm=1.0, clip_value=1.0))
    optimizer.step()
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters())]
    assert moved == [False, False, True, True, True, True]
    assert not any(p in optimizer.state for p in model[0].parameters())


def test_the_average_follows_the_weights_and_changes_places_with_them(model):
    average = Average(model, 0.75)
    start = model[2].weight.detach().clone()
    with torch.no_grad():
        model[2].weight += 1
    average.update(model)
    average.exchange(model)
    assert torch.allclose(model[2].weight, start + 0.25) and torch.allclose(average.weights["2.weight"], start + 1)
    average.exchange(model)
    assert torch.allclose(model[2].weight, start + 1) and torch.allclose(average.weights["2.weight"], start + 0.25)
