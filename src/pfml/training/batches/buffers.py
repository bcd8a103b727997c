"""Reuse the memory of batches.

A fresh 60 MB batch costs the system 15,000 first touches of a page: more than half of the time to cut and normalise 100
images (benchmarks/loader.py). `Buffers` therefore hands out the memory of a batch again, as soon as no tensor, no view
and no graph of autograd refers to it.
"""

import weakref

import numpy as np
import torch


class Buffers:
    """Hands out float32 tensors with arbitrary content. Keeps the largest amount of memory that was in use at once."""

    def __init__(self):
        self.free: list[np.ndarray] = []

    def take(self, *shape: int) -> torch.Tensor:
        """A contiguous tensor of this shape. Each call releases at most one free block of another shape."""
        memory = self.free.pop() if self.free else None
        if memory is None or memory.shape != shape:
            memory = np.empty(shape, np.float32)
        # The tensor's storage, which all its views share, refers to `lent`. So `lent` dies with the last view.
        lent = memory.view()
        weakref.finalize(lent, self.free.append, memory).atexit = False
        return torch.from_numpy(lent)
