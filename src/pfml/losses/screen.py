"""A cheap lower bound of distances for the fast sum where the dimension is large.

Distances shrink under projection, so a pair that is far in a few directions is far: at k/D of the cost, most
pairs can be left out. Any orthonormal basis gives a valid bound, so one serves many training steps, and no
result depends on it.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Screen:
    """The points in their leading principal directions, and when it pays to look at them there.

    The basis follows the points by a step of subspace iteration now and then. While most tiles fail the test
    (too many pairs are near there to tell), the screen rests until the next look at the points.
    """

    rank = 64
    steps = 20  # between two looks at the points

    def __init__(self):
        self.basis: Tensor | None = None  # (D, rank)
        self.age = self.passed = self.failed = 0

    def project(self, x: Tensor, dtype: torch.dtype) -> Tensor | None:
        """The points (n, D) in the basis, (n, rank); None where a plain product is as good."""
        n, D = x.shape
        if 2 * self.rank > D or n < 4 * self.rank:
            return None
        if self.basis is None or self.age % self.steps == 0 or self.basis.device != x.device:
            self.passed = self.failed = 0
        self.age += 1
        if self.failed > self.passed:
            return None
        x = (x - x.mean(0)).to(dtype)
        if self.basis is None or self.basis.device != x.device:
            self.basis = torch.linalg.qr(x[:: n // self.rank][: self.rank].T)[0]
            self.age = 1
        self.basis = self.basis.to(dtype)
        if self.age % self.steps == 1:
            self.basis = torch.linalg.qr(x.T @ (x @ self.basis))[0]
        return x @ self.basis

    def count(self, passed: bool) -> None:
        self.passed += passed
        self.failed += not passed
