"""Proxies over several processes: shards are parts of what one process has, replicas are equal."""

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pfml.losses.common.distributed import own_range, shard_sizes
from pfml.losses.field import field_loss
from tests.losses.distributed_cases import N, joined, make, outcome, parts


@pytest.mark.parametrize("size, classes, ranges", [(2, 5, [(0, 3), (3, 5)]), (3, 2, [(0, 1), (1, 2), (2, 2)])])
def test_shards_are_equal_parts(size, classes, ranges):
    assert [own_range(shard_sizes(classes, size), rank) for rank in range(size)] == ranges


def shards(rank, size, init, classes):
    loss = make(proxy_init=init, classes=classes, shard_proxies=True)
    return loss.proxies.shape, loss.full_proxies(), torch.rand(1)


@pytest.mark.parametrize("init", ["random", "kaiming"])
@pytest.mark.parametrize("classes", [N, 2])
def test_shards_are_parts_of_what_one_process_draws(ranks, init, classes):
    expected, after = make(proxy_init=init, classes=classes).proxies.detach(), torch.rand(1)
    found = ranks(shards, 3, init, classes)
    assert [shape[0] for shape, _, _ in found] == shard_sizes(classes, 3)
    for _, whole, random in found:
        assert torch.equal(whole, expected) and not whole.requires_grad
        assert torch.equal(random, after), "the ranks go on with equal random numbers"


def start_from_data(rank, size, batch, settings):
    loss = make(seed=rank, proxy_init="data", **settings)
    before = loss.full_proxies().clone()
    loss.initialize_proxies(*batch[rank], torch.Generator().manual_seed(rank))
    loss(*batch[rank])
    return before, loss.full_proxies()


@pytest.mark.parametrize("settings", [{}, {"shard_proxies": True}], ids=str)
def test_data_proxies_come_from_all_ranks_and_are_equal_on_all(ranks, settings):
    batch = parts(3, (12, 0, 9))
    single = make(proxy_init="data")
    single.initialize_proxies(*joined(batch), torch.Generator().manual_seed(0))
    found = ranks(start_from_data, 3, batch, settings)
    for before, proxies in found:
        assert torch.equal(proxies[:4], single.proxies[:4]), "the draw of rank 0"
        assert torch.equal(proxies[4:], found[0][0][4:] if not settings else before[4:])
        assert torch.equal(proxies, found[0][1])


def drift(rank, size, batch, distance):
    loss = make()
    with torch.no_grad():
        loss.proxies[1, 0, 2] += rank * distance
    return outcome(loss, *batch[rank]), loss.proxies.detach()


def test_rounding_between_replicas_is_removed(ranks):
    """Sums on a GPU may differ in the last bit from rank to rank."""
    for found, proxies in ranks(drift, 2, parts(0, (5, 4)), 1e-6):
        assert found == "fine" and torch.equal(proxies, make().proxies)


def test_unequal_replicas_are_refused(ranks):
    for found, _ in ranks(drift, 3, parts(0, (5, 4, 3)), 1.0):
        assert found.startswith("RuntimeError: proxies of rank 2 differ from those of rank 0")
        assert "manual_seed" in found and "DistributedDataParallel" in found


def in_ddp(rank, size, batch):
    different = make(seed=rank)
    wrapped = DistributedDataParallel(make(seed=rank))
    shard = make(classes=4, shard_proxies=True)
    deep = DistributedDataParallel(nn.ModuleList([shard]))
    return [
        outcome(different, *batch[rank]),
        outcome(wrapped, *batch[rank]),
        outcome(DistributedDataParallel, make(shard_proxies=True)),
        outcome(deep.module[0], *batch[rank]),
    ]


def test_ddp_makes_replicas_equal_and_must_not_touch_shards(ranks):
    for different, wrapped, shard, deep in ranks(in_ddp, 2, parts(0, (5, 4))):
        assert "manual_seed" in different
        assert wrapped == "fine"
        assert shard.startswith("RuntimeError") and "parameter" in shard
        assert deep.startswith("RuntimeError: two ranks have the same proxies") and "DistributedDataParallel" in deep


def test_shards_of_other_ranks_are_refused(monkeypatch):
    monkeypatch.setattr(field_loss, "ranks", lambda: (1, 2))
    loss = make(shard_proxies=True)
    assert loss.class_range == (3, 5)
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match=r"built for 2 ranks, but there are 1: .*init_process_group"):
        loss(*joined(parts(0, (5,))))
