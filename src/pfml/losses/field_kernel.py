"""The exact fast sum of a field: every pair of points once, nothing of size n^2 kept.

A field (Eqs. 1-6 and 8) is a sum of a function of the distance over pairs. In excess form almost all pairs
are exactly zero: attraction lives inside a class, repulsion below delta_rep. So the sum has two parts:

* attraction, on class blocks, in float64 (a class is small);
* repulsion, tile by tile over half of the symmetric matrix of squared distances. A tile with few pairs below
  delta_rep becomes a short list of pairs, done in float64 from the differences x - y. A tile with many (early
  in training all embeddings sit in a narrow cone) is done elementwise in the working dtype, except for the
  pairs that the rounding of |x|^2 + |y|^2 - 2xy could spoil (very close ones, and ones on the edge): those go
  to the list too, and if they are many the tile is done again in float64.

Value and gradient are formed together in the forward pass: dE/dx_i = sum_j 2 E'(d^2) (x_i - x_j), that is one
product W @ X a tile. Shapes: n points, D dimensions, r rows and c columns of a tile, L pairs of a list.

A pair law (the `law` arguments) is any object with `delta`, `delta_rep`, `eps` and two functions of d^2,
`attraction` (asked for d >= delta) and `repulsion` (asked for eps <= d <= delta_rep), that write the energy
and its derivative with respect to d^2. Attraction is 0 inside delta; repulsion is 0 beyond delta_rep and
constant below eps.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pfml.losses.screen import Screen

TILE = {"cpu": 384, "cuda": 2048}  # rows of a tile: its arrays should stay in the nearest cache
SHORT_LIST = 0.02  # share of a tile's pairs up to which a list is faster than the whole tile
LIST_ELEMENTS = 2**22  # elements of one gathered (L, D) array


class PairLaw(Protocol):
    delta: float
    delta_rep: float
    eps: float

    def attraction(self, d2: Tensor, energy: Tensor, slope: Tensor) -> None: ...

    def repulsion(self, d2: Tensor, energy: Tensor, slope: Tensor) -> None: ...


def field_energy(
    points: Tensor,
    classes: Tensor,
    law: PairLaw,
    *,
    heads: int | None = None,
    tail_attraction: bool = True,
    tail_repulsion: bool = True,
    dtype: torch.dtype = torch.float32,
    screen: Screen | None = None,
) -> Tensor:
    """Sum of the pair energies over all ordered pairs of distinct points, as a float64 scalar.

    points (n, D) float64, classes (n,) int64. The first `heads` points act on everything; pairs within the
    tail (the proxies) can be left out, attraction and repulsion apart. `dtype` is that of the dense tiles. A
    `screen`, kept by the caller from step to step, saves time where D is large and changes nothing else.
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


def _attract(x: Tensor, classes: Tensor, law: PairLaw, heads: int, tail: bool, grad: Tensor) -> Tensor:
    """Energy of the same-class pairs, each once; adds to `grad`. Classes of one size are done together."""
    limit = _tile_side(x) ** 2
    energy = x.new_zeros(())
    order = torch.argsort(classes, stable=True)
    sizes = torch.bincount(classes)
    starts = sizes.cumsum(0) - sizes
    for m in sizes.unique().tolist():
        if m < 2:
            continue
        members = order[starts[sizes == m][:, None] + torch.arange(m, device=x.device)]  # (classes, m)
        rows = min(m, max(1, limit // m))
        for block in members.split(max(1, limit // (rows * m))):
            for part in block.split(rows, dim=1):
                energy += _attract_block(x, part, block, law, heads, tail, grad)
    return energy / 2


def _attract_block(x: Tensor, part: Tensor, block: Tensor, law: PairLaw, heads: int, tail: bool, grad: Tensor):
    """Ordered pairs (row of `part`, column of `block`), class by class: (k, r) and (k, m) indices into x."""
    edge = squared_radius(law.delta)
    x_r, x_m = x[part], x[block]
    norm_r, norm_m = x_r.square().sum(-1), x_m.square().sum(-1)
    d2 = torch.bmm(x_r, x_m.transpose(1, 2)).mul_(-2).add_(norm_r[:, :, None]).add_(norm_m[:, None, :])
    acts = d2 >= edge
    acts &= part[:, :, None] != block[:, None, :]
    if not tail:
        acts &= (part[:, :, None] < heads) | (block[:, None, :] < heads)
    energy, slope = torch.empty_like(d2), torch.empty_like(d2)
    law.attraction(d2.clamp_(min=edge), energy, slope)
    slope *= acts
    pull = x_r.mul_(slope.sum(-1, keepdim=True)).sub_(torch.bmm(slope, x_m)).mul_(2)
    grad.index_add_(0, part.reshape(-1), pull.reshape(-1, x.shape[1]))
    return energy.mul_(acts).sum()


@dataclass
class _Repulsion:
    """Energy of the other-class pairs below delta_rep, each once; adds to `grad`.

    Masks are 0/1 tensors of the working dtype: on a CPU, comparisons that write booleans take several times
    as long.
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
        self.spaces = {}
        tiles = _tiles(0, heads, self.x) + _tiles(heads, len(self.x), self.x)
        self.side = max(tile.stop - tile.start for tile in tiles)
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
        """Lists the pairs that are near in the low-rank picture, if few; all that are near are among them."""
        d2, scale = self._distances(low_rank[rows], low_rank[columns], rows, columns, tile[1])
        near = d2.lt_(self.edge + 1e-5 * scale)  # room for the rounding of the projection
        count, few = float(near.sum()), SHORT_LIST * d2.numel()
        self.screen.count(passed=count <= few)
        if count > few:
            self._tile(rows, columns, *tile)
        else:
            self._list(near, rows, columns, count)

    def _tile(self, rows: slice, columns: slice, origin: Tensor, share_classes: bool, dtype: torch.dtype) -> None:
        x_r = self._space(4, dtype, rows).copy_(self.x[rows] - origin)
        x_c = self._space(5, dtype, columns).copy_(self.x[columns] - origin)
        d2, scale = self._distances(x_r, x_c, rows, columns, share_classes)
        # Rounding of d^2 of a near pair is a few ulp of the scale: below `close` that is too much for 1e-5,
        # and within `margin` of the edge it could put a pair on the wrong side. Those pairs are listed.
        ulp = torch.finfo(dtype).eps * scale
        margin = 16 * ulp
        close = min(max(2e5 * ulp, self.floor + margin), self.edge - margin)
        few = SHORT_LIST * d2.numel()

        listed, dense, spoilt = (self._space(k, dtype, rows, columns) for k in (1, 2, 3))
        count = float(torch.lt(d2, self.edge + margin, out=listed).sum())
        if count > few:
            torch.lt(d2, self.edge - margin, out=dense)
            torch.lt(d2, close, out=spoilt)
            count = float(listed.sub_(dense).add_(spoilt).sum())
            if count > few and dtype != torch.float64:
                return self._tile(rows, columns, origin, share_classes, torch.float64)
            self._list(listed, rows, columns, count)
            self._dense(d2.clamp_(close, self.edge), dense.sub_(spoilt), rows, columns, x_r, x_c)
        else:
            self._list(listed, rows, columns, count)

    def _distances(
        self, x_r: Tensor, x_c: Tensor, rows: slice, columns: slice, share_classes: bool
    ) -> tuple[Tensor, float]:
        """d^2, with same-class pairs moved beyond the edge, and the size of what was rounded."""
        norm_r, norm_c = x_r.square().sum(1), x_c.square().sum(1)
        d2 = self._space(0, x_r.dtype, rows, columns)
        torch.addmm(norm_c, x_r, x_c.T, alpha=-2, out=d2).add_(norm_r[:, None])
        if share_classes:
            c_r, c_c = self.classes[rows].to(d2.dtype), self.classes[columns].to(d2.dtype)
            same = torch.eq(c_r[:, None], c_c[None, :], out=self._space(1, d2.dtype, rows, columns))
            d2.add_(same, alpha=self.far)
        return d2, float(norm_r.max()) + min(float(norm_c.max()), self.edge)

    def _dense(self, d2: Tensor, acts: Tensor, rows: slice, columns: slice, x_r: Tensor, x_c: Tensor) -> None:
        """Adds all pairs of the tile that the 0/1 mask `acts` names."""
        energy, slope = (self._space(k, d2.dtype, rows, columns) for k in (1, 3))
        self.law.repulsion(d2, energy, slope)
        total = energy.mul_(acts).sum()
        slope.mul_(acts)
        push = torch.addcmul(torch.mm(slope, x_c), slope.sum(1)[:, None], x_r, value=-1)
        self.grad[rows].sub_(push, alpha=2)
        if rows == columns:
            self.energy += total / 2
        else:
            self.energy += total
            push = torch.addcmul(torch.mm(slope.T, x_r), slope.sum(0)[:, None], x_c, value=-1)
            self.grad[columns].sub_(push, alpha=2)

    def _space(self, k: int, dtype: torch.dtype, rows: slice, columns: slice | None = None) -> Tensor:
        """Scratch array k, (rows, columns) or (rows, D).

        Fresh ones would cost more than what is done in them: memory of this size goes back to the system each
        time that it is freed, and comes back page by page.
        """
        D = self.x.shape[1]
        if (k, dtype) not in self.spaces:
            size = self.side * (D if columns is None else self.side)
            self.spaces[k, dtype] = torch.empty(size, dtype=dtype, device=self.x.device)
        shape = rows.stop - rows.start, D if columns is None else columns.stop - columns.start
        return self.spaces[k, dtype][: shape[0] * shape[1]].view(shape)

    def _list(self, listed: Tensor, rows: slice, columns: slice, count: float) -> None:
        """Adds the pairs below the edge that the 0/1 mask names, from the differences x - y in float64."""
        if count == 0:
            return
        hit = listed.sum(1).nonzero()[:, 0]  # most rows are empty: looking at the others alone is faster
        i, j = listed[hit].nonzero().unbind(1)
        i, j = hit[i] + rows.start, j + columns.start
        if rows == columns:
            i, j = i[i < j], j[i < j]
        size = max(1, LIST_ELEMENTS // self.x.shape[1])
        for i_L, j_L in zip(i.split(size), j.split(size)):
            diff = self.x.index_select(0, i_L) - self.x.index_select(0, j_L)
            d2 = diff.square().sum(1)
            inside = (d2 < self.edge).nonzero()[:, 0]
            i_L, j_L, diff, d2 = (t.index_select(0, inside) for t in (i_L, j_L, diff, d2))
            energy, slope = torch.empty_like(d2), torch.empty_like(d2)
            self.law.repulsion(d2.clamp(min=self.floor), energy, slope)
            self.energy += energy.sum()
            force = diff.mul_((2 * slope * (d2 >= self.floor))[:, None])
            self.grad.index_add_(0, i_L, force)
            self.grad.index_add_(0, j_L, force, alpha=-1)


def _tile_side(x: Tensor) -> int:
    return TILE.get(x.device.type, TILE["cpu"])


def _tiles(start: int, stop: int, x: Tensor) -> list[slice]:
    """[start, stop) in equal parts of at most one tile."""
    parts = math.ceil((stop - start) / _tile_side(x))
    cuts = [start + (stop - start) * k // parts for k in range(parts + 1)] if parts else []
    return [slice(a, b) for a, b in itertools.pairwise(cuts)]
