"""Exact ranks of the positives of each query in a gallery, at little more than the cost of X X^T. Queries and gallery
are the same n points, or parts of them.

Similarities are exact products of unit vectors rounded to 26 binary places. They and all their partial sums are
multiples of 2^-52 up to 1, which float64 holds without rounding. The order of similarities, and which are equal,
therefore depends on no tile, thread count, library or device.

An exact product takes twice the time of one in float32. A first pass therefore works in float32, relative to the centre
of all points: the narrower the cone of points, the smaller the rounding error. Queries whose ranks depend on that error
are computed again, exactly.

A query needs only the ranks of its positives, the R others of its class in the gallery. The rank of a positive is the
number of better positives and of negatives above it. That takes the R highest negatives, not a sorted gallery.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

PLACES = 26  # binary places of a unit vector's coordinates: a product of two has 52, a float64 holds 53
STRIP = 2**24  # similarities at a time: 64 MB in float32, few enough to stay in or near the cache
LISTED = 128  # Recall@K: the K highest negatives are listed; beyond this K it is faster to count them
FAISS_SPARE = 16  # neighbours beyond the needed ones, so that the rounding error rarely reaches the end of the list

# queries (q,) -> least and greatest possible number of negatives above each positive, (q, R) each
Bounds = Callable[[Tensor], tuple[Tensor, Tensor]]


def fixed_point(embeddings: Tensor) -> Tensor:
    """Unit vectors times 2^26, rounded: (n, D) whole numbers in float64. Sums of their products are exact.

    By Cauchy-Schwarz no partial sum of a product exceeds 2^52 (and a little, from rounding), below 2^53.
    """
    points = embeddings.to(torch.float64, copy=True)
    points /= points.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)  # squares cannot overflow
    points *= 2**PLACES / points.norm(dim=1, keepdim=True).clamp(min=1)  # 0 for a zero vector, else at least 1
    return points.round_()


class Gallery:
    """Points, their classes, the queries among them, and those that are searched (the gallery)."""

    def __init__(self, points: Tensor, labels: Tensor, asked: Tensor | None = None, searched: Tensor | None = None):
        """`points`: (n, D) of fixed_point. `labels`: (n,) integers. `asked`, `searched`: (n,) booleans, the points that
        are queries and those in the gallery; None: all.
        """
        self.points = points
        _, self.classes = labels.unique(return_inverse=True)
        self.searched = torch.ones_like(labels, dtype=torch.bool) if searched is None else searched
        self.outside = None if self.searched.all() else ~self.searched  # points that no query may find
        sizes = self.classes[self.searched].bincount(minlength=int(self.classes.max()) + 1)
        self.sizes = sizes[self.classes]  # gallery points of every point's class
        self.relevant = self.sizes - self.searched.long()  # R of every point: it is no answer to itself
        order = self.classes.argsort(stable=True)
        self.by_class = order[self.searched[order]]
        self.first = (sizes.cumsum(0) - sizes)[self.classes]  # where a point's class starts in by_class
        # Small classes first, since a strip's table of positives is as wide as the largest class in it.
        self.queries = self.relevant.argsort(stable=True)[(self.relevant == 0).sum() :]
        if asked is not None:
            self.queries = self.queries[asked[self.queries]]
        self.rows = min(max(STRIP // len(labels), 1), len(labels))  # of a strip of similarities

    def members(self, queries: Tensor) -> Tensor:
        """(q, R + 1) gallery points of each query's class, and the query, which also pads short rows."""
        place = torch.arange(int(self.relevant[queries].max()) + 1, device=queries.device)
        points = self.by_class[(self.first[queries, None] + place).clamp(max=len(self.by_class) - 1)]
        return torch.where(place < self.sizes[queries, None], points, queries[:, None])


def positive_ranks(gallery: Gallery, ks: Sequence[int], backend: str = "torch") -> Iterator[tuple[Tensor, Tensor]]:
    """Ranks of the positives of every query for `measures`. Each query comes once.

    Yields:
        queries (q,), ranks (q, R) from 0. Ranks below R are exact; the first rank lies on the right side of each k.
    """
    first = faiss_bounds if backend == "faiss" else strip_bounds
    unsure = gallery.queries
    # An exact pass takes twice as long, so a first pass that settles less than half of a strip is given up.
    for look, share in ((first, 0.5), (partial(strip_bounds, exact=True), 0.0)):
        left, bounds = [unsure[:0]], look(gallery, ks)
        for start in range(0, len(unsure), gallery.rows):
            queries = unsure[start : start + gallery.rows]
            low, high = bounds(queries)
            ranks = low + torch.arange(low.shape[1], device=low.device)
            settled = ((low == high) | (ranks >= gallery.relevant[queries, None])).all(1)
            for k in ks:
                settled &= (low[:, 0] < k) == (high[:, 0] < k)
            yield queries[settled], ranks[settled]
            left.append(queries[~settled])
            if settled.sum() < share * len(queries):
                left.append(unsure[start + gallery.rows :])
                break
        unsure = torch.cat(left)
    # Those left have a positive that ties a negative.
    for queries, order in sorted_others(gallery.points, unsure, gallery.rows // 4 + 1, gallery.outside):
        same = gallery.classes[order] == gallery.classes[queries, None]
        ranks = torch.where(same, torch.arange(order.shape[1], device=order.device), order.shape[1])
        yield queries, ranks.topk(int(gallery.relevant[queries].max()), dim=1, largest=False).values


def strip_bounds(gallery: Gallery, ks: Sequence[int], exact: bool = False) -> Bounds:
    """Bounds from strips of the similarity matrix, in float32 widened by its error, or exact (then equal but for ties).

    Only the R highest negatives are listed: a positive below all of them has a rank beyond R. Where K is larger than
    the list, the rank of the nearest positive is counted in the strip.
    """
    points, offsets, band = (gallery.points, None, 0.0) if exact else _centered(gallery.points)
    n = len(points)
    strip, above = torch.empty(2, gallery.rows, n, dtype=points.dtype, device=points.device)
    listed = max(ks) if max(ks) <= LISTED else 1

    def bounds(queries: Tensor) -> tuple[Tensor, Tensor]:
        some, out = points[queries], strip[: len(queries)]
        similarity = torch.mm(some, points.T, out=out) if exact else torch.addmm(offsets, some, points.T, out=out)
        similarity.scatter_(1, queries[:, None], -math.inf)
        if gallery.outside is not None:
            similarity.masked_fill_(gallery.outside, -math.inf)
        members = gallery.members(queries)
        positives = similarity.gather(1, members).sort(dim=1, descending=True).values[:, :-1]
        similarity.scatter_(1, members, -math.inf)  # leaves the negatives
        negatives = similarity.topk(min(max(positives.shape[1], listed), n), dim=1).values
        low, high = _above(positives, negatives, band)
        if max(ks) > negatives.shape[1]:
            nearest, out = positives[:, :1], above[: len(queries)]
            # 0 and 1 in the strip's own type sum far faster than booleans, and exactly below 2^24 points.
            low[:, 0] = torch.gt(similarity, nearest + band, out=out).sum(1)
            high[:, 0] = torch.ge(similarity, nearest - band, out=out).sum(1)
        return low, high

    return bounds


def faiss_bounds(gallery: Gallery, ks: Sequence[int]) -> Bounds:
    """Bounds from faiss's lists of neighbours. A positive beyond the list is at most as similar as the last neighbour.

    Raises:
        ImportError: faiss is not installed.
    """
    try:
        import faiss  # after torch: the other order can crash where their CUDA versions differ
    except ImportError as error:
        raise ImportError(
            f'backend="faiss", but {error}; expected the extra pfml[pipeline]: pip install faiss-gpu '
            '(or faiss-cpu). backend="torch" gives the same results without it'
        ) from error
    points, offsets, band = _centered(gallery.points.cpu())
    index = faiss.IndexFlatIP(points.shape[1] + 1)  # one more coordinate: the offset in a point, 1 in a query
    searched = gallery.searched.nonzero()[:, 0]
    index.add(torch.cat([points, offsets[:, None]], 1)[searched.cpu()].numpy())

    def bounds(queries: Tensor) -> tuple[Tensor, Tensor]:
        relevant, device = int(gallery.relevant[queries].max()), queries.device
        depth = min(max(relevant, *ks) + FAISS_SPARE, len(searched))
        vectors = torch.nn.functional.pad(points[queries.cpu()], (0, 1), value=1.0)
        similarity, near = (torch.from_numpy(part).to(device) for part in index.search(vectors.numpy(), depth))
        near = searched[near]
        last = similarity[:, -1:] if depth < len(searched) else torch.full_like(similarity[:, :1], -math.inf)
        same, other = gallery.classes[near] == gallery.classes[queries, None], near != queries[:, None]
        positives, negatives = (
            similarity.where(mask, -math.inf).sort(dim=1, descending=True).values for mask in (same & other, ~same)
        )
        positives = positives[:, :relevant].maximum(last)
        low, high = _above(positives, negatives, band)
        return low, high.where(positives - band > last, len(points))

    return bounds


def _above(positives: Tensor, negatives: Tensor, band: float) -> tuple[Tensor, Tensor]:
    """Least and greatest number of negatives (q, m) above each positive (q, R), both sorted descending."""
    ascending, m = negatives.flip(1).contiguous(), negatives.shape[1]
    low = m - torch.searchsorted(ascending, (positives + band).contiguous(), right=True)
    high = m - torch.searchsorted(ascending, (positives - band).contiguous())
    return low, high


def _centered(points: Tensor) -> tuple[Tensor, Tensor, float]:
    """Vectors v (n, D) and offsets o (n,) in float32, and a bound on the rounding error of their products.

    For each x, v_x . v_y + o_y orders the points y as the similarities x . y do, but for rounding. The bound is the
    largest difference, or reversal, that rounding alone can give two of these sums.

    With c near the mean of the points, x . y = (x - c) . (y - c) + c . y + a term of x alone. A sum of D products errs,
    in any order, by at most D * 2^-24 times the vectors' lengths (Jeannerod & Rump 2013); the 16 covers the rounding of
    vectors and offsets to float32 and of sums with offset and band.
    """
    center = points.mean(0).round_()
    offsets = points @ center * 4.0**-PLACES
    offsets -= offsets.mean()
    vectors = ((points - center) * 2.0**-PLACES).float()
    largest = float(vectors.norm(dim=1).max()) ** 2 + float(offsets.abs().max())
    return vectors, offsets.float(), 2 * (points.shape[1] + 16) * 2.0**-24 * largest


@contextlib.contextmanager
def plain_float32(device: torch.device):
    """Switch off TF32, bf16 and autocast, even if the program allows them: the error bound holds for float32."""
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before):
            backend.fp32_precision = precision


def sorted_others(
    points: Tensor, queries: Tensor, rows: int, outside: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield queries (q,) and all other points (q, n - 1), sorted by similarity, equal ones by index. After those of the
    gallery come points `outside` (n,) of it.
    """
    for start in range(0, len(queries), rows):
        some = queries[start : start + rows]
        similarity = (points[some] @ points.T).scatter_(1, some[:, None], -math.inf)
        if outside is not None:
            similarity.masked_fill_(outside, -math.inf)
        yield some, similarity.sort(dim=1, descending=True, stable=True).indices[:, :-1]
