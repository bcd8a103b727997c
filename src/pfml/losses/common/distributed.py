"""One field over the batches of all processes.

Every rank gathers the rows of all ranks and sums the same whole field, so it knows every gradient and keeps that of
its own rows: the forward pass communicates, the backward pass does not. Ranks may have different numbers of rows.

A small exchange comes first, in which a rank with bad input tells the others, which else would wait for it for ever.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

Gather = Literal["ddp", "sum", "off"]
DRIFT = 1e-3  # relative distance of two ranks' proxies up to which rounding has made it


def ranks() -> tuple[int, int]:
    """The number of this process and how many there are: 0, 1 where torch.distributed is not at work."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def shard_sizes(num_classes: int, size: int) -> list[int]:
    """Classes of each of `size` ranks; the first have one more where the number does not divide."""
    return [num_classes // size + (rank < num_classes % size) for rank in range(size)]


def own_range(counts: list[int], rank: int) -> tuple[int, int]:
    """First and last + 1 of a rank's rows among the joined rows."""
    return sum(counts[:rank]), sum(counts[: rank + 1])


def gather_rows(rows: Tensor, counts: list[int], scale: float = 1.0) -> Tensor:
    """The rows of all ranks, in rank order: (c, ...) with c = counts[rank] -> (sum(counts), ...).

    The gradient is that of the own rows times `scale`. It is right only where every rank computes the same from the
    joined rows.
    """
    return _GatherRows.apply(rows, counts, scale)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, counts, scale):
        ctx.own, ctx.scale = slice(*own_range(counts, dist.get_rank())), scale
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        if padded.numel():  # as bytes: not every backend has every dtype
            dist.all_gather([part.view(torch.uint8) for part in parts], padded.view(torch.uint8))
        return torch.cat([part[:count] for part, count in zip(parts, counts)])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        grad = grad[ctx.own] * ctx.scale
        if grad.dtype != torch.float16:  # there a gradient scaler wants to see the overflow
            grad.clamp_(-torch.finfo(grad.dtype).max, torch.finfo(grad.dtype).max)
        return grad, None, None


class Facts(NamedTuple):
    """What a rank tells the others before a step."""

    broken: float = 1  # its input is bad; the rest says nothing
    count: float = 0  # embeddings
    kind: float = 0  # their dtype and device type
    settings: float = 0  # of the loss
    sketch: float = 0  # a linear function of the proxies, which differs where they do
    norm: float = 0  # of the proxies

    @classmethod
    def of(cls, embeddings: Tensor, settings: str, proxies: Tensor) -> Facts:
        kind = f"{embeddings.dtype} {embeddings.device.type}"
        values = proxies.detach().double().reshape(-1, proxies.shape[-1])
        left, right = (torch.arange(1, n + 1, device=values.device).double().sin() for n in values.shape)
        sketch, norm = torch.stack([left @ (values @ right), values.norm()]).tolist()
        return cls(0, len(embeddings), *(zlib.crc32(text.encode()) for text in (kind, settings)), sketch, norm)


def exchange(look: Callable[[], Facts], device: torch.device) -> list[Facts]:
    """The facts of every rank. If `look` raises on one rank, all raise: that one its error, the others whose it was."""
    size = ranks()[1]
    mine, error = Facts(), None
    try:
        mine = look()
    except Exception as found:
        error = found
    told = gather_rows(torch.tensor([mine], dtype=torch.float64, device=device), [1] * size)
    if error is not None:
        raise error
    facts = [Facts(*row) for row in told.tolist()]
    for other, theirs in enumerate(facts):
        if theirs.broken:
            raise RuntimeError(f"rank {other} of {size} could not give its part to the loss; its own error says why")
        if theirs.settings != facts[0].settings:
            raise RuntimeError(
                f"the loss has other settings on rank {other} than on rank 0; expected the same (print it on both)"
            )
        if theirs.kind != facts[0].kind:
            raise RuntimeError(
                f"embeddings of rank {other} have another dtype or device type than those of rank 0; expected the "
                "same, for empty batches too (print embeddings.dtype and embeddings.device on both)"
            )
    return facts


def align(proxies: Tensor, facts: list[Facts]) -> None:
    """Makes replicas that rounding has moved apart rank 0's again; refuses those that never were the same."""
    apart = [abs(theirs.sketch - facts[0].sketch) for theirs in facts]
    if not any(apart):
        return
    if max(apart) > DRIFT * max(theirs.norm for theirs in facts):
        raise RuntimeError(
            f"proxies of rank {apart.index(max(apart))} differ from those of rank 0; expected the same on all ranks: "
            "build the loss after torch.manual_seed with one seed, or wrap it in DistributedDataParallel (both start "
            "it from equal proxies), load the same checkpoint, take the same optimizer steps"
        )
    dist.broadcast(proxies.detach(), 0)


def check_shards(facts: list[Facts]) -> None:
    sketches = [theirs.sketch for theirs in facts if theirs.norm]
    if len(set(sketches)) < len(sketches):
        raise RuntimeError(
            "two ranks have the same proxies, but shard_proxies=True gives each rank other classes; "
            "DistributedDataParallel copies rank 0's: leave the loss out of what it wraps"
        )
