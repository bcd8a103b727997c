"""Arrays that are used again from step to step.

Fresh ones would cost more than what is done in them: memory of this size goes back to the system each time that
it is freed, and comes back page by page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor


class Scratch:
    """One flat array per name, dtype and device, grown as needed. What was in it is lost at the next request."""

    def __init__(self):
        self._arrays: dict[tuple, Tensor] = {}

    def __call__(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """An uninitialized tensor of this shape that shares memory with the last one of this name."""
        length, key = math.prod(shape), (name, dtype, device)
        if key not in self._arrays or self._arrays[key].numel() < length:
            self._arrays.pop(key, None)  # before the new one comes, so that both never stand side by side
            self._arrays[key] = torch.empty(length, dtype=dtype, device=device)
        return self._arrays[key][:length].view(shape)

    def __reduce__(self):
        return Scratch, ()  # copies and pickles start empty


def row_chunks(x: Tensor) -> Iterator[slice]:
    """Slices of the rows of x: on a CPU so small that one in float64 stays in cache (2 MiB), else up to 512 MiB."""
    rows, elements = len(x), 2**18 if x.device.type == "cpu" else 2**26
    step = max(1, elements // max(1, math.prod(x.shape[1:])))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
