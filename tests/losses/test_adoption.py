"""The field losses in other people's programs: saved, moved, copied, compiled, called twice, trained by others."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.trainers import MetricLossOnly
from torch import nn

from pfml.losses import ContrastiveFieldLoss, PotentialFieldLoss
from tests.oracles.field import random_batch

BOTH = pytest.mark.parametrize("build", [PotentialFieldLoss, ContrastiveFieldLoss])
# (classes, proxies per class): a handful, and enough that pairs of proxies are remembered from step to step.
SIZES = pytest.mark.parametrize("classes, proxies", [(3, 2), (70, 8)])
DIM = 6


def field(build=PotentialFieldLoss, classes=3, proxies=2, **settings):
    torch.manual_seed(0)
    return build(classes, DIM, proxies, delta=0.3, delta_rep=0.4, **settings)


def batch(seed=0, size=12, classes=3, dtype=torch.float32):
    embeddings, labels, _ = random_batch(seed, size, DIM, classes, spread=0.7)
    return embeddings.to(dtype).requires_grad_(), labels


def trained(loss, steps=4):
    """The loss after a few steps of its proxies."""
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    for step in range(steps):
        optimizer.zero_grad()
        loss(*batch(step, classes=loss.num_classes)).backward()
        optimizer.step()
    return loss


def outcome(loss, embeddings, labels):
    """Value, and gradients of embeddings and proxies."""
    value = loss(embeddings, labels)
    return value.detach(), *torch.autograd.grad(value, (embeddings, loss.proxies))


def assert_same(found, wanted, **tolerance):
    for one, other in zip(found, wanted, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other, **(tolerance or {"rtol": 0, "atol": 0}))


# --- saved, copied, moved


@BOTH
@pytest.mark.parametrize("init", ["random", "data"])
def test_state_dict_round_trip_through_a_file(build, init):
    loss = field(build, proxy_init=init)
    if init == "data":
        loss.initialize_proxies(*batch())
    file = io.BytesIO()
    torch.save(trained(loss).state_dict(), file)
    file.seek(0)
    fresh = build(3, DIM, 2, delta=0.3, delta_rep=0.4, proxy_init=init)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert_same(outcome(fresh, *batch(9)), outcome(loss, *batch(9)))
    trained(loss), trained(fresh)
    assert torch.equal(fresh.proxies, loss.proxies), "training goes on as if it had not stopped"


@SIZES
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_a_copy_made_between_steps_is_equal_and_independent(duplicate, classes, proxies):
    loss = trained(field(classes=classes, proxies=proxies))
    twin, before = duplicate(loss), loss.proxies.detach().clone()
    wanted = outcome(loss, *batch(9, classes=classes))
    # What is remembered decides the order of the sum only.
    assert_same(outcome(twin, *batch(9, classes=classes)), wanted, rtol=1e-5, atol=1e-4 * float(wanted[2].abs().max()))
    trained(twin)
    assert not torch.equal(twin.proxies, before) and torch.equal(loss.proxies, before)


@BOTH
def test_to_float64_and_back(build):
    loss, (embeddings, labels) = field(build), batch()
    single = outcome(loss, embeddings, labels)
    double = outcome(loss.to(torch.float64), embeddings.detach().double().requires_grad_(), labels)
    assert all(part.dtype == torch.float64 for part in double)
    scale = float(single[1].abs().max())
    assert_same([part.float() for part in double], single, rtol=1e-5, atol=1e-6 * scale)
    assert_same(outcome(loss.to(torch.float32), embeddings, labels), single)


def test_from_the_meta_device():
    """Built without memory, then filled: how large programs load."""
    loss = trained(field())
    with torch.device("meta"):
        empty = PotentialFieldLoss(3, DIM, 2, delta=0.3, delta_rep=0.4)
    assert empty.proxies.is_meta
    empty.to_empty(device="cpu").load_state_dict(loss.state_dict())
    assert_same(outcome(empty, *batch()), outcome(loss, *batch()))


def test_where_another_device_is_the_default():
    embeddings, labels = batch()
    loss, wanted = (field(proxy_init="data") for _ in range(2))
    wanted.initialize_proxies(embeddings, labels, torch.Generator().manual_seed(0))
    torch.set_default_device("meta")
    try:
        loss.initialize_proxies(embeddings, labels, torch.Generator("cpu").manual_seed(0))
        found = outcome(loss, embeddings, labels)
    finally:
        torch.set_default_device(None)
    assert_same(found, outcome(wanted, embeddings, labels))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@BOTH
@SIZES
def test_to_cuda_and_back(build, classes, proxies):
    loss, (embeddings, labels) = trained(field(build, classes, proxies)), batch(classes=classes)
    here = outcome(loss, embeddings, labels)
    there = outcome(loss.to("cuda"), embeddings.detach().cuda().requires_grad_(), labels)  # labels may stay behind
    assert all(part.is_cuda for part in there)
    assert_same([part.cpu() for part in there], here, rtol=1e-4, atol=1e-5 * float(here[2].abs().max()))
    assert_same(outcome(loss.to("cpu"), embeddings, labels), here, rtol=1e-5, atol=1e-5 * float(here[2].abs().max()))


def test_as_part_of_a_module():
    program = nn.ModuleDict({"net": nn.Linear(DIM, DIM), "field": field(proxy_init="data")})
    assert {name for name, _ in program.named_parameters()} == {"net.weight", "net.bias", "field.proxies"}
    program["field"].initialize_proxies(*batch())
    program.double().eval().train()
    twin = nn.ModuleDict({"net": nn.Linear(DIM, DIM), "field": field(proxy_init="data")}).double()
    twin.load_state_dict(program.state_dict())
    embeddings, labels = batch()
    values = [part["field"](part["net"](embeddings.double()), labels) for part in (program, twin)]
    assert values[0].dtype == torch.float64 and torch.equal(*values)


# --- compiled


@pytest.mark.parametrize("what", ["model", "model and loss", "loss"])
def test_compiled(what):
    torch.manual_seed(0)
    model, loss, labels = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, DIM)), field(), torch.arange(12) % 3
    images, graphs = torch.randn(12, 4), []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def step(energy):
        value = energy(images)
        return value.detach(), *torch.autograd.grad(value, [*model.parameters(), loss.proxies])

    wanted = step(lambda images: loss(model(images), labels))
    torch.compiler.reset()
    if what == "model":
        net = torch.compile(model, backend=backend)
        program = lambda images: loss(net(images), labels)  # noqa: E731
    elif what == "model and loss":
        program = torch.compile(lambda images: 2 * loss(model(images), labels) / 2, backend=backend)
    else:
        unit = torch.compile(loss, backend=backend)
        program = lambda images: unit(model(images), labels)  # noqa: E731
    for _ in range(10):  # more than the compiler compiles one place anew
        assert_same(step(program), wanted)
    assert len(graphs) == {"model": 1, "model and loss": 2, "loss": 0}[what], "the sum itself is not cut into pieces"
    torch.compiler.reset()


# --- several calls, one backward


@BOTH
@SIZES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_calls_before_one_backward(build, classes, proxies, dtype):
    """Each call keeps its own gradient, although arrays are used again from call to call."""
    first, second = batch(1, 20, classes, dtype), batch(2, 12, classes, dtype)
    (_, *one), (_, *two) = (outcome(field(build, classes, proxies).to(dtype), *part) for part in (first, second))
    loss = field(build, classes, proxies).to(dtype)
    (loss(*first) + 3 * loss(*second)).backward()
    found = first[0].grad, second[0].grad, loss.proxies.grad
    scale = float(loss.proxies.grad.abs().max())
    assert_same(found, (one[0], 3 * two[0], one[1] + 3 * two[1]), rtol=1e-5, atol=1e-6 * scale)


@SIZES
def test_gradients_accumulate_and_a_graph_can_be_kept(classes, proxies):
    first, second = batch(1, 20, classes), batch(2, 12, classes)
    loss = field(classes=classes, proxies=proxies)
    value = loss(*first)
    value.backward(retain_graph=True)
    once = loss.proxies.grad.clone()
    loss(*second).backward()
    value.backward()
    alone = outcome(field(classes=classes, proxies=proxies), *second)
    scale = float(loss.proxies.grad.abs().max())
    assert_same([loss.proxies.grad], [2 * once + alone[2]], rtol=1e-5, atol=1e-6 * scale)
    torch.testing.assert_close(second[0].grad, alone[1], rtol=1e-5, atol=1e-6 * scale)


@SIZES
def test_validation_without_gradients_between_steps(classes, proxies):
    """Under no_grad and under inference_mode, whose tensors no later step may write to."""
    loss, wanted = (field(classes=classes, proxies=proxies) for _ in range(2))
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            value = loss(*batch(5, 40, classes))
            assert not value.requires_grad and value > 0
        trained(loss), trained(wanted)
        torch.testing.assert_close(loss.proxies, wanted.proxies, rtol=1e-4, atol=1e-5)


def test_frozen_proxies():
    loss, (embeddings, labels) = field(), batch()
    _, wanted, _ = outcome(loss, embeddings, labels)
    loss.requires_grad_(False)(embeddings, labels).backward()
    assert torch.equal(embeddings.grad, wanted) and loss.proxies.grad is None


def test_a_second_derivative_is_refused():
    """A gradient penalty would count the field's part as constant: an error is better than a wrong gradient."""
    net, loss, (images, labels) = nn.Linear(DIM, DIM), field(), batch()
    with pytest.raises(RuntimeError, match=r"second derivative.*create_graph"):
        torch.autograd.grad(loss(net(images), labels), images, create_graph=True)
    with pytest.raises(RuntimeError, match=r"second derivative.*create_graph"):
        loss(net(images), labels).backward(create_graph=True)
    loss(net(images), labels).backward()
    assert images.grad.any()


# --- trained by others


def test_a_step_under_autocast():
    """The network in bfloat16, the field on its embeddings in float32, gradients in the parameters' dtype."""
    torch.manual_seed(0)
    net, loss, seen = nn.Linear(DIM, DIM), field(), []
    net.register_forward_hook(lambda net, inputs, output: seen.append(output))
    images, labels = batch()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(net(images), labels)
    value.backward()
    assert seen[0].dtype == torch.bfloat16
    assert value.dtype == torch.float32 and torch.equal(value, loss(seen[0].detach().float(), labels))
    for parameter in (*net.parameters(), loss.proxies):
        assert parameter.grad.dtype == torch.float32 and parameter.grad.isfinite().all() and parameter.grad.any()


@BOTH
def test_trainer_of_pytorch_metric_learning(build):
    """Two epochs by MetricLossOnly, with a miner whose tuples are ignored: the loss falls, all parameters move."""
    torch.manual_seed(0)
    np.random.seed(0)  # the sampler draws with it
    labels = torch.arange(96) % 6
    images = torch.randn(6, 10)[labels] + 0.3 * torch.randn(96, 10)
    net, loss, energies = nn.Linear(10, DIM), field(build, classes=6), []
    before = [parameter.detach().clone() for parameter in (net.weight, loss.proxies)]
    trainer = MetricLossOnly(
        models={"trunk": net},
        loss_funcs={"metric_loss": loss},
        mining_funcs={"tuple_miner": MultiSimilarityMiner()},
        optimizers={
            "trunk_optimizer": torch.optim.Adam(net.parameters(), lr=0.05),
            "metric_loss_optimizer": torch.optim.Adam(loss.parameters(), lr=0.05),
        },
        dataset=torch.utils.data.TensorDataset(images, labels),
        sampler=MPerClassSampler(labels, m=4, batch_size=24, length_before_new_iter=480),
        batch_size=24,
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
        end_of_iteration_hook=lambda trainer: energies.append(float(trainer.losses["metric_loss"].detach())),
    )
    trainer.train(num_epochs=2)
    assert len(energies) == 40 and sum(energies[-10:]) < 0.8 * sum(energies[:10])
    for now, then in zip((net.weight, loss.proxies), before):
        assert (now - then).abs().amax() > 0.01
