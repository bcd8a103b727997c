"""The exact fast sum of a field: every pair of points once, nothing of size n^2 kept.

A field (Eqs. 1-6 and 8) is a sum of a function of the distance over pairs. In excess form almost all pairs are
exactly zero: attraction lives inside a class, repulsion below delta_rep. So the sum is formed in two parts:

* attraction, on class blocks, in float64 (a class is small);
* repulsion, tile by tile over half of the symmetric matrix of squared distances. A tile with few pairs below
  delta_rep becomes a short list of pairs, done in float64 from the differences x - y. A tile with many (early in
  training all embeddings sit in a narrow cone) is done elementwise in the working dtype, except for the pairs that
  the rounding of |x|^2 + |y|^2 - 2xy could spoil (very close ones, and ones on the edge): those go to the list
  too, and if they are many the tile is done again in float64.

Value and gradient are formed together in the forward pass, with dE/dx_i = sum_j 2 E'(d^2) (x_i - x_j), that is
one product W @ X a tile. Shapes: n points, D dimensions, T rows of a tile, L pairs of a list.

A pair law (the `law` arguments) is any object with `delta`, `delta_rep`, `eps` and two functions of d^2,
`attraction` (asked for d >= delta) and `repulsion` (asked for eps <= d < delta_rep), that return the energy and its
derivative with respect to d^2. Attraction is 0 inside delta, repulsion 0 beyond delta_rep and constant below eps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

TILE = {"cpu": 384, "cuda": 4096}  # rows of a tile: the arrays of a tile should stay in the nearest cache
SHORT_LIST = 0.02                  # share of a tile's pairs up to which a list is faster than the whole tile
LIST_ELEMENTS = 2**22              # elements of one gathered (L, D) array


class PairLaw(Protocol):
    delta: float
    delta_rep: float
    eps: float

    def attraction(self, d2: Tensor) -> tuple[Tensor, Tensor]: ...

    def repulsion(self, d2: Tensor) -> tuple[Tensor, Tensor]: ...


def field_energy(points: Tensor, classes: Tensor, law: PairLaw, *, heads: int | None = None,
                 tail_attraction: bool = True, tail_repulsion: bool = True,
                 dtype: torch.dtype = torch.float32, screen: Screen | None = None) -> Tensor:
    """Sum of the pair energies over all ordered pairs of distinct points, as a float64 scalar.

    points (n, D) float64, classes (n,) int64. The first `heads` points act on everything; pairs within the tail
    (the proxies) can be left out, attraction and repulsion apart. `dtype` is that of the dense tiles. A `screen`,
    kept by the caller from step to step, saves time where D is large and changes nothing else.
    """
    heads = len(points) if heads is None else heads
    return _FieldEnergy.apply(points, classes, law, heads, tail_attraction, tail_repulsion, dtype, screen)


class _FieldEnergy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, classes, law, heads, tail_attraction, tail_repulsion, dtype, screen):
        grad = torch.zeros_like(points)
        energy = _attract(points, classes, law, heads, tail_attraction, grad)
        energy += _Repulsion(points, classes, law, grad, screen).run(heads, tail_repulsion, dtype)
        ctx.save_for_backward(grad.mul_(2))  # both directions of a pair
        return 2 * energy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        (grad,) = ctx.saved_tensors
        return (grad_output * grad, *[None] * 7)


def squared_radius(radius: float) -> float:
    """The smallest float64 t with sqrt(t) >= radius, so that d^2 < t means the same as d < radius."""
    t = radius * radius
    while math.sqrt(t) >= radius:
        t = math.nextafter(t, 0.0)
    while math.sqrt(t) < radius:
        t = math.nextafter(t, math.inf)
    return t


# ---------------------------------------------------------------------------------------------- attraction

def _attract(x: Tensor, classes: Tensor, law: PairLaw, heads: int, tail: bool, grad: Tensor) -> Tensor:
    """Energy of the same-class pairs, each once; adds to `grad`. Classes of one size are done together."""
    edge = squared_radius(law.delta)
    limit = TILE.get(x.device.type, 384) ** 2
    energy = x.new_zeros(())
    order = torch.argsort(classes, stable=True)
    sizes = torch.bincount(classes)
    starts = sizes.cumsum(0) - sizes
    for m in sizes.unique().tolist():
        if m < 2:
            continue
        members = order[starts[sizes == m][:, None] + torch.arange(m, device=x.device)]  # (classes, m)
        rows = min(m, max(1, limit // m))
        together = max(1, limit // (rows * m))
        for block in members.split(together):
            for part in block.split(rows, dim=1):
                energy = energy + _attract_block(x, part, block, edge, law, heads, tail, grad)
    return energy / 2


def _attract_block(x, part, block, edge, law, heads, tail, grad):
    """Ordered pairs (row of `part`, column of `block`) of one class each: (c, r) and (c, m) indices into x."""
    x_r, x_m = x[part], x[block]
    d2 = (x_r.square().sum(-1)[:, :, None] + x_m.square().sum(-1)[:, None, :]
          - 2 * torch.bmm(x_r, x_m.transpose(1, 2)))
    acts = d2 >= edge
    acts &= part[:, :, None] != block[:, None, :]
    if not tail:
        acts &= (part[:, :, None] < heads) | (block[:, None, :] < heads)
    energy, slope = law.attraction(d2.clamp_(min=edge))
    weight = (2 * slope).mul_(acts)
    pull = weight.sum(-1, keepdim=True) * x_r - torch.bmm(weight, x_m)
    grad.index_add_(0, part.reshape(-1), pull.reshape(-1, x.shape[1]))
    return energy.mul_(acts).sum()


# ----------------------------------------------------------------------------------------------- repulsion

@dataclass
class _Repulsion:
    """Energy of the other-class pairs below delta_rep, each once; adds to `grad`.

    Masks are 0/1 tensors of the working dtype: comparisons that write booleans are several times slower on a CPU.
    """

    x: Tensor
    classes: Tensor
    law: PairLaw
    grad: Tensor
    screen: Screen | None = None

    def run(self, heads: int, tail: bool, dtype: torch.dtype) -> Tensor:
        self.floor, self.edge = squared_radius(self.law.eps), squared_radius(self.law.delta_rep)
        self.far = 4 * self.edge + 1  # added to d^2 of pairs that must not count
        self.energy = self.x.new_zeros(())
        tiles = _tiles(0, heads, self.x.device) + _tiles(heads, len(self.x), self.x.device)
        spans = [self.classes[tile].aminmax() for tile in tiles]
        spans = [(int(low), int(high)) for low, high in spans]
        low_rank = self.screen.project(self.x, dtype) if self.screen else None
        for a, rows in enumerate(tiles):
            if rows.start >= heads and not tail:
                break
            # Distances do not change when the origin moves; near the rows the products keep their digits.
            origin = self.x[rows].mean(0)
            for columns, span in zip(tiles[a:], spans[a:]):
                share_classes = spans[a][0] <= span[1] and span[0] <= spans[a][1]
                if low_rank is None:
                    self._tile(rows, columns, origin, share_classes, dtype)
                else:
                    self._screened_tile(low_rank, rows, columns, origin, share_classes, dtype)
        return self.energy

    def _screened_tile(self, low_rank: Tensor, rows: slice, columns: slice, *tile) -> None:
        """Lists the pairs that are near in the low-rank picture (all that are near are among them), if few."""
        d2, scale = self._distances(low_rank[rows], low_rank[columns], rows, columns, tile[1])
        near = d2.lt_(self.edge + 1e-5 * scale)  # 1e-5: rounding of the projection, which is not centred on the rows
        count = float(near.sum())
        self.screen.count(passed=count <= SHORT_LIST * d2.numel())
        if count > SHORT_LIST * d2.numel():
            self._tile(rows, columns, *tile)
        elif count > 0:
            self._list(near.nonzero(), rows, columns)

    def _tile(self, rows: slice, columns: slice, origin: Tensor, share_classes: bool, dtype: torch.dtype) -> None:
        x_r, x_c = _moved(self.x[rows], origin, dtype), _moved(self.x[columns], origin, dtype)
        d2, scale = self._distances(x_r, x_c, rows, columns, share_classes)
        # Rounding of d^2 of a near pair is a few ulp of the scale: below `close` that is too much for 1e-5, and
        # within `margin` of the edge it could put a pair on the wrong side.
        ulp = torch.finfo(dtype).eps * scale
        margin = 16 * ulp
        close = max(2e5 * ulp, self.floor + margin)
        limit = SHORT_LIST * d2.numel()

        listed = torch.lt(d2, self.edge + margin, out=torch.empty_like(d2))
        count = float(listed.sum())
        if count == 0:
            return
        if count > limit:
            torch.lt(d2, close, out=listed).add_((d2 - self.edge).abs_().lt_(margin))
            count = float(listed.sum())
            if count > limit and dtype != torch.float64:
                return self._tile(rows, columns, origin, share_classes, torch.float64)
            d2.add_(listed, alpha=self.far)
            self._dense(d2, rows, columns, x_r, x_c)
        if count > 0:
            self._list(listed.nonzero(), rows, columns)

    def _distances(self, x_r: Tensor, x_c: Tensor, rows: slice, columns: slice,
                   share_classes: bool) -> tuple[Tensor, float]:
        """d^2 of the tile, same-class pairs moved beyond the edge, and the size of what was rounded for near ones."""
        norm_r, norm_c = x_r.square().sum(1), x_c.square().sum(1)
        d2 = torch.addmm(norm_c, x_r, x_c.T, alpha=-2).add_(norm_r[:, None])
        if share_classes:
            c_r, c_c = self.classes[rows].to(d2.dtype), self.classes[columns].to(d2.dtype)
            d2.add_(torch.eq(c_r[:, None], c_c[None, :], out=torch.empty_like(d2)), alpha=self.far)
        return d2, float(norm_r.max()) + min(float(norm_c.max()), self.edge)

    def _dense(self, d2: Tensor, rows: slice, columns: slice, x_r: Tensor, x_c: Tensor) -> None:
        """Adds all pairs of the tile below the edge."""
        acts = torch.lt(d2, self.edge, out=torch.empty_like(d2))
        energy, slope = self.law.repulsion(d2.clamp_(max=self.edge))
        total = energy.mul_(acts).sum()
        weight = slope.mul_(acts).mul_(2)
        self.grad[rows] += weight.sum(1, keepdim=True) * x_r - weight @ x_c
        if rows == columns:
            self.energy += total / 2
        else:
            self.energy += total
            self.grad[columns] += weight.sum(0)[:, None] * x_c - weight.T @ x_r

    def _list(self, pairs: Tensor, rows: slice, columns: slice) -> None:
        """Adds the listed pairs below the edge, from the differences x - y in float64."""
        if rows == columns:
            pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        i, j = pairs[:, 0] + rows.start, pairs[:, 1] + columns.start
        size = max(1, LIST_ELEMENTS // self.x.shape[1])
        for i_L, j_L in zip(i.split(size), j.split(size)):
            diff = self.x.index_select(0, i_L) - self.x.index_select(0, j_L)
            d2 = diff.square().sum(1)
            inside = (d2 < self.edge).nonzero()[:, 0]
            i_L, j_L, diff, d2 = (t.index_select(0, inside) for t in (i_L, j_L, diff, d2))
            energy, slope = self.law.repulsion(d2.clamp(min=self.floor))
            self.energy += energy.sum()
            force = diff.mul_((2 * slope * (d2 >= self.floor))[:, None])
            self.grad.index_add_(0, i_L, force)
            self.grad.index_add_(0, j_L, force, alpha=-1)


def _moved(x: Tensor, origin: Tensor, dtype: torch.dtype) -> Tensor:
    """x - origin, subtracted in float64 and then rounded, without a float64 copy."""
    return torch.sub(x, origin, out=torch.empty(x.shape, dtype=dtype, device=x.device))


def _tiles(start: int, stop: int, device: torch.device) -> list[slice]:
    """[start, stop) in equal parts of at most one tile."""
    if stop == start:
        return []
    parts = math.ceil((stop - start) / TILE.get(device.type, 384))
    cuts = [start + (stop - start) * k // parts for k in range(parts + 1)]
    return [slice(a, b) for a, b in zip(cuts, cuts[1:])]


class Screen:
    """Bounds distances from below in the leading principal directions of the points, at k/D of the cost.

    Any orthonormal basis gives a valid bound, so one basis serves many steps, and results do not depend on it. It
    follows the points by a step of subspace iteration now and then, and rests while most tiles fail the test.
    """

    rank = 64
    steps = 20  # between two looks at the points

    def __init__(self):
        self.basis: Tensor | None = None  # (D, rank)
        self.age = self.passed = self.failed = 0

    def project(self, x: Tensor, dtype: torch.dtype) -> Tensor | None:
        """The points (n, D) in the basis, (n, rank); None where a plain product is as good."""
        n, D = x.shape
        if D < 2 * self.rank or n < 4 * self.rank:
            return None
        if self.basis is None or self.age % self.steps == 0 or self.basis.device != x.device:
            self.passed = self.failed = 0
        self.age += 1
        if self.failed > self.passed:
            return None
        x = _moved(x, x.mean(0), dtype)
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
