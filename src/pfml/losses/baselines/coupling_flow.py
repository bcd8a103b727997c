"""A conditional normalising flow of GLOW coupling blocks (Kingma and Dhariwal, 2018), as FrEIA 0.2 composes them.

FrEIA's PermuteRandom and GLOWCouplingBlock, whose scale is clamp * 0.636 atan(.), on vectors.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn


class CouplingFlow(nn.Module):
    """x (B, D) under a condition c (B, C) -> z (B, D) and log |det dz/dx| (B,).

    Each block reorders the axes by a random permutation, the same for every run (numpy's of seed 0, 1, ... as in FrEIA,
    kept in the state_dict), and splits them at round(D / 2) into a and b:
    a <- a * e^s(b, c) + t(b, c), then b <- b * e^s(a, c) + t(a, c), s = clamp * 0.636 atan(.).
    A network of `depth` linear layers, `width` wide with ReLU between them, gives s and t together.

    Args:
        dim: D, from 2.
        condition: C.
        blocks: how many; 0 leaves x as it is.
        depth: from 2.
    """

    def __init__(self, dim: int, condition: int, blocks: int, depth: int, width: int, clamp: float):
        super().__init__()
        self.clamp, self.first = clamp, round(dim * 0.5)
        second = dim - self.first
        orders = [np.random.RandomState(block).permutation(dim) for block in range(blocks)]
        self.register_buffer("orders", torch.from_numpy(np.array(orders, dtype=np.int64).reshape(blocks, dim)))
        self.to_first, self.to_second = (
            nn.ModuleList([network(passive + condition, 2 * active, depth, width) for _ in range(blocks)])
            for passive, active in ((second, self.first), (self.first, second))
        )

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(len(x))
        for order, to_first, to_second in zip(self.orders, self.to_first, self.to_second):
            a, b = x[:, order].split([self.first, x.shape[1] - self.first], dim=1)
            a, first = self._couple(a, to_first(torch.cat([b, condition], 1)))
            b, second = self._couple(b, to_second(torch.cat([a, condition], 1)))
            x, log_det = torch.cat([a, b], 1), log_det + first + second
        return x, log_det

    def _couple(self, active: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = found.chunk(2, dim=1)
        scale = self.clamp * 0.636 * torch.atan(scale)
        return scale.exp() * active + shift, scale.sum(1)


def network(inputs: int, outputs: int, depth: int, width: int) -> nn.Sequential:
    """`depth` linear layers with torch's start, ReLU between them."""
    sizes = [inputs, *[width] * (depth - 1), outputs]
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
