"""Train one run with several processes (torchrun). Each embeds a part of every batch, and all compute the whole loss.

Batches, draws and labels are those of one process, and so is the result, but for batch normalisation: its statistics
are those of a part, unless train.sync_bn joins them (CUDA) or train.freeze_bn freezes them.
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
    """This process among `size` processes. If it is the only one, the methods return their arguments unchanged."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, n: int) -> list[int]:
        """Numbers of rows of each rank, if n rows are split among the ranks in order."""
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
        """Join the rows of all ranks: this rank's share -> (n, D). The gradient of this rank's rows is multiplied by
        the number of ranks, since `wrapped` averages the network's gradient over the ranks.
        """
        return rows if self.size == 1 else gather_rows(rows, self.share(n), float(self.size))

    def any(self, flag: bool) -> bool:
        """Whether the flag is True on any rank; the same answer on all."""
        if self.size == 1:
            return flag
        largest = torch.tensor(float(flag))  # on the CPU: a GPU would first have to finish its step
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return bool(largest)

    def from_first(self, value):
        """The first rank's object, on all ranks."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copy the first rank's values to all ranks, since values that each rank computes by itself can diverge."""
        for tensor in tensors if self.size > 1 else ():
            dist.broadcast(tensor.data, src=0)


def with_sync_batchnorm(model: nn.Module) -> nn.Module:
    """The network with batch normalisation over all ranks. By timm, since torch would drop the activation of timm's own
    layers."""
    from timm.layers import convert_sync_batchnorm

    return convert_sync_batchnorm(model)


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """A context with the ranks that torchrun started, or with this process alone; on CUDA if there is a GPU.

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
