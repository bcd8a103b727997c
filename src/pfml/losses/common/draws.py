"""Random draws of a loss that a resumed run repeats: they follow a seed and a counter, both part of its state_dict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Draws(nn.Module):
    """One seed for each step of a loss, the same again from the same state.

    The first is drawn from torch's global generator when the loss is built, so that runs of other seeds draw otherwise;
    after that no global state is read or moved.
    """

    def __init__(self):
        super().__init__()
        self.register_buffer("seed", torch.randint(2**62, ()))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def _next(self) -> int:
        seed = int(self.seed) + int(self.step)
        self.step += 1
        return seed

    def generator(self, device: torch.device) -> torch.Generator:
        """Of the next step."""
        return torch.Generator(device).manual_seed(self._next())

    @contextmanager
    def globally(self, device: torch.device) -> Iterator[None]:
        """Code inside that draws from the global generators gets the next step's numbers; they are put back after."""
        on_cuda = device.type == "cuda"
        with torch.random.fork_rng(devices=[device] if on_cuda else []):
            seed = self._next()
            torch.random.default_generator.manual_seed(seed)
            if on_cuda:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            yield


class SeededMiner(nn.Module):
    """A library miner that draws from the global generators, made repeatable."""

    def __init__(self, miner: nn.Module):
        super().__init__()
        self.miner, self.draws = miner, Draws()

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor):
        with self.draws.globally(embeddings.device):
            return self.miner(embeddings, labels)
