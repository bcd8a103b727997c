"""Which pairs of proxies may be near each other, remembered from step to step.

Proxies move little in one step, so the pairs within `radius` are found among those that were within
radius + skin when last looked at: a Verlet list (Phys. Rev. 159, 98, 1967). It is exact. A pair that is not in
the list was at least radius + skin apart, and it stays outside the radius until one of the two has moved half
the skin; who has moved that far is looked at again, alone. A listed pair that was farther apart than the radius
and both ways since together is skipped without a look at its points.

Searching takes a product over all pairs, at k/D of the cost: distances shrink under projection, so what is far
in a few principal directions is far. Any orthonormal basis gives a valid bound.

Memory: P points of D dimensions, k numbers each, and at most `per_point` pairs a point. Shapes: L pairs.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pfml.losses.common.scratch import Scratch, row_chunks


class Neighbours:
    """The pairs of points of different classes that may be within a radius; one object serves all steps.

    It says which pairs to look at, never what they add: the sum has the same terms with and without it.
    """

    least = 512  # points; fewer are summed as quickly without a list
    rank = 64  # k
    per_point = 32  # longest list, per point
    skins = (1.0, 0.25)  # of the radius: the wide one needs fewer searches, the narrow one is shorter
    pause = 20  # steps without a list after one that was too long or took too many searches
    worth = 0.5  # most that searches may take of the work of a full product, on average over some ten steps
    share = 0.02  # of a tile's pairs: with more candidates in k directions, all D are looked at
    tile: ClassVar = {"cpu": 384, "cuda": 4096}  # rows and columns of one product

    def __init__(self, scratch: Scratch):
        self.scratch = scratch
        self.forget()

    def forget(self) -> None:
        """Start anew at the next step."""
        self.reference: Tensor | None = None  # (P, D): where each point was when last looked at
        self.paused, self.width, self.work = 0, 0, 0.0  # width: which of the skins

    def pairs(self, x: Tensor, classes: Tensor, radius: float, scale: float) -> tuple[Tensor, Tensor] | None:
        """Indices i, j (L,) that hold every pair of different classes closer than `radius`, each once.

        x (P, D) float32 about its centre, classes (P,), `scale` a bound of the points' lengths. None where there is
        no list: few points, or too many pairs that are near.
        """
        if len(x) < self.least:
            return None
        if self.paused:
            self.paused -= 1
            return None
        slack = 1e-5 * scale + 2e-6 * scale**2 / radius  # what float32 may lose of a distance, generously
        self.work *= 0.9
        try:
            if not self._fits(x, classes, radius, slack):
                self._build(x, classes, radius, 2 * slack)
            else:
                self._follow(x)
        except BaseException:  # out of memory, Ctrl-C: a list that is half renewed would miss pairs
            self.forget()
            raise
        if self.work > self.worth:
            self.forget()
        if self.reference is None:
            self.paused = self.pause
            return None
        near = (self.gap < self.moved[self.i] + self.moved[self.j]).nonzero()[:, 0]
        return self.i[near], self.j[near]

    def _fits(self, x: Tensor, classes: Tensor, radius: float, slack: float) -> bool:
        return (
            self.reference is not None
            and self.reference.shape == x.shape
            and self.reference.device == x.device
            and self.radius == radius
            and self.slack >= slack
            and torch.equal(self.classes, classes)
        )

    def _build(self, x: Tensor, classes: Tensor, radius: float, slack: float) -> None:
        self.radius, self.slack, self.classes = radius, slack, classes.clone()
        self.reference = self.low = None  # before the new ones come, so that both never stand side by side
        self.reference, self.basis = x.clone(), _principal_directions(x, self.rank)
        self.low = self.reference if self.basis is None else x @ self.basis
        while self.width < len(self.skins):
            self.skin = self.skins[self.width] * radius
            found = self._search(torch.arange(len(x), device=x.device)) if 8 * slack < self.skin else None
            if found is not None:
                self.i, self.j, self.gap = found
                self.moved = x.new_zeros(len(x))
                return
            self.width += 1
        self.forget()

    def _follow(self, x: Tensor) -> None:
        """Measures how far each point has moved, and looks again at those that have moved half the skin."""
        for rows in row_chunks(x):
            way = self.scratch("way", x[rows].shape, x.dtype, x.device)
            torch.linalg.vector_norm(torch.sub(x[rows], self.reference[rows], out=way), dim=1, out=self.moved[rows])
        movers = (self.moved > self.skin / 2 - self.slack).nonzero()[:, 0]
        if len(movers) == 0:
            return
        still = torch.ones(len(x), dtype=torch.bool, device=x.device)
        still[movers] = False
        kept = (still[self.i] & still[self.j]).nonzero()[:, 0]
        found = None
        if 2 * len(movers) < len(x):  # else one search over half of the symmetric matrix is as quick
            self.reference[movers], self.moved[movers] = x[movers], 0
            if self.basis is not None:  # else low is the reference itself
                self.low[movers] = x[movers] @ self.basis
            found = self._search(movers, still, kept=len(kept))
        if found is None:
            return self._build(x, self.classes, self.radius, self.slack)
        old = self.i[kept], self.j[kept], self.gap[kept]
        self.i, self.j, self.gap = (torch.cat(both) for both in zip(old, found))

    def _search(self, rows: Tensor, still: Tensor | None = None, kept: int = 0) -> tuple[Tensor, ...] | None:
        """Pairs of a row and any point within radius + skin: i, j (L,) and distance - radius; None if too many.

        `rows`: indices of all points, or of those that are not `still`.
        """
        P, D = self.reference.shape
        self.work += 0.1 * len(rows) / P * self.low.shape[1] / D * (1 if still is None else 2)
        reach, room = self.radius + self.skin, self.per_point * P - kept
        side = self.tile.get(rows.device.type, self.tile["cpu"])
        columns = _slices(P, side)
        spans = [class_span(self.classes[c]) for c in columns]
        found = [(rows[:0], rows[:0], self.low.new_empty(0))]
        for a, part in enumerate(_slices(len(rows), side)):
            low, high = class_span(self.classes[rows[part]])
            for b in range(a if still is None else 0, len(columns)):
                mixed = low <= spans[b][1] and spans[b][0] <= high  # same-class pairs are possible
                near = self._near(rows[part], columns[b], reach, mixed, room)
                if near is None:
                    return None
                i, j, distance = near
                if still is not None:
                    once = still[j] | (i < j)
                elif a == b:
                    once = i < j
                else:
                    once = slice(None)
                found.append((i[once], j[once], distance[once] - (self.radius + self.slack)))
                room -= len(found[-1][0])
        if room < 0:
            return None
        return tuple(torch.cat(parts) for parts in zip(*found))

    def _near(self, rows: Tensor, columns: slice, reach: float, mixed: bool, room: int) -> tuple[Tensor, ...] | None:
        """The pairs of one tile: i, j, distance; None if they are more than twice the room."""
        for x in (self.low, self.reference) if self.basis is not None else (self.reference,):
            x_r, x_c = x[rows], x[columns]
            norm_r, norm_c = (torch.linalg.vector_norm(x, dim=1).square_() for x in (x_r, x_c))
            shape = len(x_r), len(x_c)
            d2, near = (self.scratch(name, shape, x.dtype, x.device) for name in ("distances", "listed"))
            torch.addmm(norm_c, x_r, x_c.T, alpha=-2, out=d2).add_(norm_r[:, None])
            limit = reach**2 + 1e-5 * float(norm_r.max() + norm_c.max())  # room for the rounding
            if mixed:
                same = self.classes[rows][:, None] == self.classes[columns]
                d2.masked_fill_(same, 2 * limit + 1)
            count = float(torch.lt(d2, limit, out=near).sum())
            if count <= self.share * d2.numel():
                break
        if count > 2 * room:
            return None
        if count == 0:
            return rows[:0], rows[:0], d2[:0, 0]
        hit = near.sum(1).nonzero()[:, 0]  # most rows are empty: looking at the others alone is faster
        i, j = near[hit].nonzero().unbind(1)
        i = hit[i]
        if x is self.reference:
            distance = d2[i, j].clamp_(min=0).sqrt_()
        else:
            distance = self._distances(rows[i], j + columns.start)
        inside = (distance < reach).nonzero()[:, 0]
        return rows[i[inside]], j[inside] + columns.start, distance[inside]

    def _distances(self, i: Tensor, j: Tensor) -> Tensor:
        """(L,), in arrays that stay: fresh ones, of another size in each tile, would leave holes in memory."""
        D, like = self.reference.shape[1], {"dtype": self.reference.dtype, "device": self.reference.device}
        distance = torch.empty(len(i), **like)
        for pairs in row_chunks(i[:, None].expand(-1, D)):
            ends = [
                torch.index_select(self.reference, 0, index, out=self.scratch(name, (len(index), D), **like))
                for name, index in (("way", i[pairs]), ("end", j[pairs]))
            ]
            torch.linalg.vector_norm(ends[0].sub_(ends[1]), dim=1, out=distance[pairs])
        return distance


def _principal_directions(x: Tensor, rank: int) -> Tensor | None:
    """An orthonormal basis (D, rank) near the leading principal directions; None where D is hardly larger."""
    if 2 * rank > x.shape[1] or rank > len(x):
        return None
    some = x[:: max(1, len(x) // (16 * rank))]
    basis = torch.linalg.qr(some[:rank].T)[0]
    for _ in range(2):
        basis = torch.linalg.qr(some.T @ (some @ basis))[0]
    return basis


def class_span(classes: Tensor) -> tuple[int, int]:
    """Smallest and largest class: two tiles whose spans do not meet have no pair of one class."""
    low, high = classes.aminmax()
    return int(low), int(high)


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]
