"""The exact sum of the repulsion between classes: tiles of the symmetric matrix of distances, or lists of pairs.

Almost all pairs are farther apart than delta_rep and add exactly nothing. A tile with few pairs below delta_rep
becomes a short list of pairs, done in float64 from the differences x - y. A tile with many (early in training all
embeddings sit in a narrow cone) is done elementwise in the working dtype, except for the pairs that the rounding
of |x|^2 + |y|^2 - 2xy could spoil (very close ones, and ones on the edge): those go to the list too, and if they
are many the tile is done again in float64.

The gradient is formed with the value: dE/dx_i = sum_j 2 E'(d^2) (x_i - x_j), one product W @ X a tile.
Shapes: n points, D dimensions, r rows and c columns of a tile, L pairs of a list.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pfml.losses.common.scratch import Scratch, row_chunks
from pfml.losses.field.neighbours import Neighbours, class_span
from pfml.losses.field.pair_law import PairLaw, squared_radius

TILE = {"cpu": 384, "cuda": 2048}  # rows of a tile: its arrays should stay in the nearest cache
SHORT_LIST = 0.02  # share of a tile's pairs up to which a list is faster than the whole tile
SURE_LIST = 64  # pairs that are always listed
LIST_ELEMENTS = 2**18  # elements of one gathered (L, D) array


def tile_side(x: Tensor) -> int:
    return TILE.get(x.device.type, TILE["cpu"])


@dataclass
class Repulsion:
    """Energy of the other-class pairs below delta_rep, each once; adds half of its gradient to `grad`.

    x (n, D) float64, classes (n,) int64, grad (n, D) float64; centred (n, D) float32 is overwritten, with x about its
    centre. `dtype` is that of the dense tiles. Masks are 0/1 tensors of the working dtype: on a CPU, comparisons that
    write booleans take several times as long.
    """

    x: Tensor
    classes: Tensor
    law: PairLaw
    grad: Tensor
    dtype: torch.dtype
    centred: Tensor
    scratch: Scratch
    neighbours: Neighbours

    def __post_init__(self):
        self.floor, self.edge = squared_radius(self.law.eps), squared_radius(self.law.delta_rep)
        self.far = 1e30  # added to d^2 of pairs that must not count
        self.energy = self.x.new_zeros(())
        self.pushes = None

    def run(self, heads: int, tail: bool, scale: float) -> Tensor:
        """All pairs with one of the first `heads` points and, if `tail`, those among the others.

        `scale` bounds the lengths of the points.
        """
        n = len(self.x)
        # Distances do not change when the origin moves; near the points the products keep their digits.
        centre = self.x[heads:].mean(0) if heads < n else self.x.mean(0)
        for rows in row_chunks(self.x):
            self.centred[rows] = self.x[rows] - centre
        near = None
        if tail:  # before the tiles: their pushes and a search should not need memory at the same time
            near = self.neighbours.pairs(self.centred[heads:], self.classes[heads:], self.law.delta_rep, scale)
        self._tiles(0, heads, heads, n)
        if near is not None and len(near[0]) <= max(SHORT_LIST / 2 * (n - heads) ** 2, SURE_LIST):
            self._pairs(near[0] + heads, near[1] + heads)
        elif tail:
            self._tiles(heads, n, n, n)
        if self.pushes:
            for rows in row_chunks(self.x):
                self._add_pushes(rows, *(array[rows] for array in (*self.pushes, self.centred)))
        return self.energy

    def _tiles(self, start: int, stop: int, middle: int, end: int) -> None:
        """Pairs among [start, stop), and between them and [middle, end)."""
        side = tile_side(self.x)
        inner = self._spanned(start, stop, side)
        tallest = max((rows.stop - rows.start for rows, _ in inner), default=1)
        outer = self._spanned(middle, end, side * side // tallest)
        for a, (rows, (low, high)) in enumerate(inner):
            for columns, (lowest, highest) in inner[a:] + outer:
                self._tile(rows, columns, mixed=low <= highest and lowest <= high)

    def _spanned(self, start: int, stop: int, side: int) -> list[tuple[slice, tuple[int, int]]]:
        """[start, stop) in equal parts of at most `side`, each with its smallest and largest class."""
        parts = math.ceil((stop - start) / side)
        cuts = [start + (stop - start) * k // parts for k in range(parts + 1)] if parts else []
        slices = [slice(a, b) for a, b in itertools.pairwise(cuts)]
        return [(rows, class_span(self.classes[rows])) for rows in slices]

    def _tile(self, rows: slice, columns: slice, mixed: bool) -> None:
        """All pairs of a tile, listed or elementwise; `mixed`: some may be of one class.

        In the common frame unless rounding spoils many pairs there, else with the origin amid the rows, else in
        float64.
        """
        x_r, x_c = self.centred[rows], self.centred[columns]
        if self.dtype == torch.float32 and self._done(rows, columns, mixed, x_r, x_c, common=True):
            return
        origin = self.x[rows].mean(0)
        x_r, x_c = self.x[rows] - origin, self.x[columns] - origin
        if self.dtype == torch.float32 and self._done(rows, columns, mixed, x_r.float(), x_c.float()):
            return
        self._done(rows, columns, mixed, x_r, x_c)

    def _done(self, rows: slice, columns: slice, mixed: bool, x_r: Tensor, x_c: Tensor, common: bool = False) -> bool:
        """Adds the tile; does nothing and says so where too many pairs are too close for the digits of x_r, x_c."""
        d2, size = self._distances(x_r, x_c, rows, columns, mixed)
        # Rounding of d^2 of a near pair is a few ulp of the size: below `close` that is too much for 1e-5,
        # and within `margin` of the edge it could put a pair on the wrong side. Those pairs are listed.
        ulp = torch.finfo(d2.dtype).eps * size
        margin = 16 * ulp
        close = min(max(1e6 * ulp, self.floor + margin), self.edge - margin)
        few = max(SHORT_LIST * d2.numel(), SURE_LIST)
        if close <= 0 or close ** -(0.5 * getattr(self.law, "alpha", 0) + 1) > torch.finfo(d2.dtype).max / 1e6:
            few = d2.numel()  # digits or range are not enough for any pair
        listed, dense, spoilt = (self._space(name, d2.dtype, rows, columns) for name in ("listed", "dense", "spoilt"))
        count = float(torch.lt(d2, self.edge + margin, out=listed).sum())
        many = count > few
        if many:
            torch.lt(d2, self.edge - margin, out=dense)
            torch.lt(d2, close, out=spoilt)
            count = float(listed.sub_(dense).add_(spoilt).sum())
            if count > few and d2.dtype != torch.float64:
                return False
        self._list(listed, rows, columns, count)
        if many:
            self._dense(d2.clamp_(close, self.edge), dense.sub_(spoilt), rows, columns, x_r, x_c, common)
        return True

    def _distances(self, x_r: Tensor, x_c: Tensor, rows: slice, columns: slice, mixed: bool) -> tuple[Tensor, float]:
        """d^2, with same-class pairs moved beyond the edge, and the size of what was rounded for a near pair."""
        norm_r, norm_c = (torch.linalg.vector_norm(x, dim=1).square_() for x in (x_r, x_c))
        d2 = self._space("distances", x_r.dtype, rows, columns)
        torch.addmm(norm_c, x_r, x_c.T, alpha=-2, out=d2).add_(norm_r[:, None])
        if rows == columns:  # rounding differs by direction, and a pair must be judged alike in both
            d2.copy_(torch.minimum(d2, d2.T))
        if mixed:
            lowest = self.classes[rows].min()  # float32 counts to 2^24 only
            c_r, c_c = (self.classes[part].sub(lowest).to(d2.dtype) for part in (rows, columns))
            same = torch.eq(c_r[:, None], c_c[None, :], out=self._space("listed", d2.dtype, rows, columns))
            d2.add_(same, alpha=self.far)
        high_r, high_c = float(norm_r.max()), float(norm_c.max())
        return d2, high_r + min(high_c, 2 * (high_r + self.edge))

    def _dense(
        self, d2: Tensor, acts: Tensor, rows: slice, columns: slice, x_r: Tensor, x_c: Tensor, common: bool
    ) -> None:
        """Adds all pairs of the tile that the 0/1 mask `acts` names."""
        energy, slope = (self._space(name, d2.dtype, rows, columns) for name in ("listed", "spoilt"))
        self.law.repulsion(d2, energy, slope)
        total = energy.mul_(acts).sum()
        slope.mul_(acts)
        sides = [(rows, slope, x_r, x_c)]
        if rows != columns:
            total *= 2
            sides.append((columns, slope.T, x_c, x_r))
        self.energy += total / 2
        if common and self.pushes is None:
            n, D = self.x.shape  # not kept: steps whose tiles are lists need no pushes, but a list of neighbours
            self.pushes = [torch.zeros(shape, dtype=d2.dtype, device=d2.device) for shape in ((n, D), (n,))]
        for own, weights, x_own, x_other in sides:
            if common:
                self.pushes[0][own].addmm_(weights, x_other)
                self.pushes[1][own].add_(weights.sum(1))
            else:
                self._add_pushes(own, torch.mm(weights, x_other), weights.sum(1), x_own)

    def _add_pushes(self, own: slice, push: Tensor, weight: Tensor, x_own: Tensor) -> None:
        """To the gradient: 2 sum_j w_ij (x_i - x_j), from push = W X and weight = W 1."""
        self.grad[own].sub_(push.addcmul_(weight[:, None], x_own, value=-1), alpha=2)

    def _space(self, name: str, dtype: torch.dtype, rows: slice, columns: slice | None = None) -> Tensor:
        """Scratch array (rows, columns) or (rows, D)."""
        width = self.x.shape[1] if columns is None else columns.stop - columns.start
        return self.scratch(name, (rows.stop - rows.start, width), dtype, self.x.device)

    def _list(self, listed: Tensor, rows: slice, columns: slice, count: float) -> None:
        """Adds the pairs that the 0/1 mask names."""
        if count == 0:
            return
        hit = listed.sum(1).nonzero()[:, 0]  # most rows are empty: looking at the others alone is faster
        i, j = listed[hit].nonzero().unbind(1)
        i, j = hit[i] + rows.start, j + columns.start
        if rows == columns:
            i, j = i[i < j], j[i < j]
        self._pairs(i, j)

    def _pairs(self, i: Tensor, j: Tensor) -> None:
        """Adds those of the pairs i, j (L,) that are below the edge, from the differences x - y in float64."""
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
