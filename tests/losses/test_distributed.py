"""The field over several processes is that of one process on the joined batch: values, gradients, training."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pfml.losses.common.distributed import own_range, shard_sizes
from tests.losses.distributed_cases import D, N, assert_close, joined, make, parts

SIZES = {2: [(5, 4), (0, 6), (1, 1)], 3: [(4, 1, 6), (0, 5, 0)]}  # embeddings of each rank
CASES = [
    ("pfml", {}),
    ("pfml", {"proxies_per_class": 0}),
    ("pfml", {"reduction": "pair_mean", "absent_proxies": False}),
    ("pfml", {"reduction": "anchor_mean", "proxy_proxy": "none"}),
    ("pfml", {"proxy_proxy": "repulsion", "normalize_proxies": False}),
    ("cpml", {}),
    ("cpml", {"reduction": "pair_mean", "proxy_proxy": "repulsion"}),
]


# --- one step


def step(loss, embeddings, labels):
    """Value and gradients with respect to embeddings and proxies."""
    embeddings = embeddings.clone().requires_grad_()
    value = loss(embeddings, labels)
    value.backward()
    return value.detach(), embeddings.grad, loss.proxies.grad


def each_step(rank, size, settings, batches):
    return [step(make(name, **case, **settings), *batch[rank]) for name, case in CASES for batch in batches]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("settings", [{}, {"gather": "sum"}, {"shard_proxies": True}], ids=str)
def test_value_and_gradients_are_those_of_the_joined_batch(ranks, size, settings):
    batches = [parts(seed, sizes) for seed, sizes in enumerate(SIZES[size])]
    cases = [(make(name, **case), batch) for name, case in CASES for batch in batches]
    results = zip(*ranks(each_step, size, settings, batches))
    for (loss, batch), found in zip(cases, results, strict=True):
        value, grad_z, grad_p = step(loss, *joined(batch))
        assert grad_z.any() and (grad_p.any() or grad_p.numel() == 0)
        grads_z = grad_z.split([len(labels) for _, labels in batch])
        for rank, (found_value, found_z, found_p) in enumerate(found):
            assert_close(found_value[None], value[None])
            assert_close(found_z, grads_z[rank] * (1 if settings.get("gather") == "sum" else size))
            own = slice(*own_range(shard_sizes(N, size), rank)) if "shard_proxies" in settings else slice(None)
            assert_close(found_p, grad_p[own])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_any_precision(ranks, dtype):
    batch = [((1e-4 * z).to(dtype), y) for z, y in parts(0, (5, 4))]
    value, grad_z, _ = step(make(), *joined(batch))
    assert grad_z.isinf().any() == (dtype == torch.float16), "for a gradient scaler to see"
    for found, expected in zip(ranks(one_step, 2, {"gather": "sum"}, batch), grad_z.split((5, 4))):
        assert found[0].dtype == value.dtype and found[1].dtype == dtype
        assert torch.equal(found[1], expected)


def one_step(rank, size, settings, batch):
    return step(make(**settings), *batch[rank])


def test_gradients_stay_finite(ranks):
    batch = [(z * 1e-38, y) for z, y in parts(0, (5, 4))]  # the gradient grows as the inverse of the length
    for _, grad_z, _ in ranks(one_step, 2, {}, batch):
        assert torch.isfinite(grad_z).all() and grad_z.abs().max() == torch.finfo(torch.float32).max


def test_off_is_each_rank_alone(ranks):
    batch = parts(0, (5, 4))
    for found, alone in zip(ranks(one_step, 2, {"gather": "off"}, batch), batch):
        for tensor, expected in zip(found, step(make(), *alone)):
            assert_close(tensor.reshape(-1), expected.reshape(-1))


def one_rank_goes_back(rank, size, batch):
    loss = make()
    with torch.no_grad():
        value = loss(*batch[rank])
    energy = loss(*batch[rank])
    if rank == 1:
        energy.backward()
    return value, energy.detach(), loss(*batch[rank]).detach()


def test_the_backward_pass_waits_for_nobody(ranks):
    batch = parts(0, (5, 4))
    expected = make()(*joined(batch)).detach().expand(3)
    for found in ranks(one_rank_goes_back, 2, batch):
        assert_close(torch.stack(found), expected)


# --- training


def inputs(seed, sizes):
    """`parts` for a network, whose inputs are of one scale."""
    return [(torch.nn.functional.normalize(z), y) for z, y in parts(seed, sizes)]


def train(rank, size, batches, settings, wrap=False, start=None):
    """Steps of a small network; its loss goes on from `start`. What is left, the same on every rank."""
    torch.manual_seed(7)
    network = bare = nn.Sequential(nn.Linear(D, 16), nn.Tanh(), nn.Linear(16, D))
    loss = bare_loss = make(alpha=1.0, reduction="anchor_mean", **settings)
    if size > 1 and settings.get("gather") != "sum":
        network = DistributedDataParallel(network)
    if wrap:
        loss = DistributedDataParallel(loss)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.02)
    if start:
        bare.load_state_dict(start["network"])
        bare_loss.load_state_dict(start["loss"])
        own = slice(*bare_loss.class_range)
        moments = {key: value[own] if value.dim() else value for key, value in start["moments"].items()}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": {0: moments}})
    whole = bare_loss.full_proxies
    for batch in batches:
        optimizer.zero_grad()
        bare.zero_grad()
        loss(network(batch[rank][0]), batch[rank][1]).backward()
        with torch.no_grad():
            for weight in bare.parameters():
                if settings.get("gather") == "sum" and size > 1:
                    dist.all_reduce(weight.grad)
                weight -= 0.01 * weight.grad
        norm = whole(bare_loss.proxies.grad).norm()
        assert norm > 0.1, "is cut"
        nn.utils.clip_grads_with_norm_(bare_loss.parameters(), 0.1, norm)
        optimizer.step()
    return {
        "network": bare.state_dict(),
        "loss": {**bare_loss.state_dict(), "proxies": whole()},
        "moments": {k: whole(v) if v.dim() else v for k, v in optimizer.state[bare_loss.proxies].items()},
    }


def assert_same_training(found, expected):
    for part, values in expected.items():
        for name, value in values.items():
            torch.testing.assert_close(
                found[part][name], value, rtol=1e-6, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize(
    "settings, wrap",
    [({}, False), ({}, True), ({"gather": "sum"}, False), ({"shard_proxies": True}, False)],
    ids=["replicated", "loss in DDP", "sum", "sharded"],
)
def test_training_is_that_of_one_process(ranks, settings, wrap):
    batches = [inputs(seed, sizes) for seed, sizes in enumerate([(4, 3, 5), (1, 6, 0), (5, 5, 5), (2, 7, 1)])]
    expected = train(0, 1, [[joined(batch)] for batch in batches], {})
    for found in ranks(train, 3, batches, settings, wrap):
        assert_same_training(found, expected)


def test_a_run_moves_from_two_ranks_to_three_and_to_one(ranks):
    whole = [inputs(seed, (4, 3, 5)) for seed in range(9)]
    expected = train(0, 1, [[joined(batch)] for batch in whole], {})
    two = [[batch[0], joined(batch[1:])] for batch in whole[:3]]
    state = ranks(train, 2, two, {"shard_proxies": True})[1]
    state = ranks(train, 3, whole[3:6], {"shard_proxies": True}, False, state)[2]
    one = [[joined(batch)] for batch in whole[6:]]
    assert_same_training(train(0, 1, one, {"shard_proxies": True}, False, state), expected)
