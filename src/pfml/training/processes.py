"""One run over several processes (torchrun): each embeds a part of every batch, all sum the whole loss.

With the same batches, draws and labels the result is that of one process on the joined batch, but for the statistics
of batch normalisation, which are those of a part unless train.sync_bn joins them (CUDA) or train.freeze_bn needs none.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pfml.losses.common.distributed import gather_rows


@dataclass(frozen=True)
class Ranks:
    """This process among `size`; every method does nothing special where it is alone."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, n: int) -> list[int]:
        """How many of n rows each rank has, in rank order; the rows stay in their order."""
        return [len(part) for part in torch.arange(n).tensor_split(self.size)]

    def wrapped(self, model: nn.Module, sync_bn: bool = False) -> nn.Module:
        """The network with gradients averaged over the ranks."""
        if self.size == 1:
            return model
        if sync_bn:
            model = with_sync_batchnorm(model)
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids)

    def joined(self, rows: Tensor, n: int) -> Tensor:
        """(n, D) of all ranks from this rank's share. The gradient of the own rows is multiplied by the number of
        ranks, over which `wrapped` then averages the network's.
        """
        return rows if self.size == 1 else gather_rows(rows, self.share(n), float(self.size))

    def any(self, flag: bool) -> bool:
        """Whether one rank says so; all ranks hear the same."""
        if self.size == 1:
            return flag
        said = torch.tensor(float(flag))  # on the CPU: a GPU would first have to finish its step
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said)

    def from_first(self, value):
        """The first rank's object, on all."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """The first rank's values on all: what every rank computes by itself may move apart."""
        for tensor in tensors if self.size > 1 else ():
            dist.broadcast(tensor.data, src=0)


def with_sync_batchnorm(model: nn.Module) -> nn.Module:
    """Its batch normalisation over all ranks; timm knows its own layers, with activation, which torch would cut off."""
    from timm.layers import convert_sync_batchnorm

    return convert_sync_batchnorm(model)


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """The ranks that torchrun has started, or this process alone; on CUDA where there is one.

    Raises:
        ValueError: there are GPUs, but not one for each process.
    """
    cuda = torch.cuda.is_available()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks(torch.device("cuda" if cuda else "cpu"))
        return
    processes = int(os.environ["LOCAL_WORLD_SIZE"])
    if cuda and torch.cuda.device_count() < processes:
        raise ValueError(
            f"PFML_PROCESSES: expected a GPU for each of {processes} processes, found {torch.cuda.device_count()}; "
            "`make repro -j 1` gives a run all GPUs, CUDA_VISIBLE_DEVICES= in the environment trains on the CPU"
        )
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=timedelta(hours=1))
    try:
        yield Ranks(device, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
