"""Memory for one batch after another.

A fresh 60 MB batch costs the system 15,000 first touches of a page: more than half of the time to cut and normalise 100
images (benchmarks/loader.py). So the memory of a batch is handed out again, but only when nothing refers to it any
more: no tensor, no view, nothing that autograd has saved.
"""

import weakref

import numpy as np
import torch


class Buffers:
    """Float32 tensors with arbitrary content; holds as much memory as was in use at a time."""

    def __init__(self):
        self.free: list[np.ndarray] = []

    def take(self, *shape: int) -> torch.Tensor:
        """A contiguous tensor of this shape; free memory of another shape is given up, one at a call."""
        memory = self.free.pop() if self.free else None
        if memory is None or memory.shape != shape:
            memory = np.empty(shape, np.float32)
        # The tensor's storage, which all its views share, holds `lent`; so `lent` dies with the last of them.
        lent = memory.view()
        weakref.finalize(lent, self.free.append, memory).atexit = False
        return torch.from_numpy(lent)
