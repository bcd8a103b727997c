"""Zero-shot retrieval measures: Recall@K, R-Precision, MAP@R and NMI (formulas and tie rule: docs/evaluation.md).

Embeddings are compared by cosine. A query never retrieves itself: it is removed by index, not by rank. Among equal
similarities the lower index comes first. The member of a class with one member is in the gallery, but no query.

Every point is a query, and the gallery is all other points, unless `queries` and `gallery` name separate sets.
"""

import math
import operator
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pfml.retrieval.inputs import checked, points, rows_of
from pfml.retrieval.ranks import Gallery, fixed_point, plain_float32, positive_ranks, sorted_others


def retrieval_metrics(
    embeddings, labels, ks: Sequence[int] = (1, 2, 4, 8), backend: str = "auto", *, queries=None, gallery=None
) -> dict[str, float]:
    """Recall@K (paper, Sec. 4.1), R-Precision and MAP@R (Musgrave et al. 2020, "A Metric Learning Reality Check").

    Args:
        embeddings: (n, D) numbers of any precision and scale, tensor or array; normalised here. A CUDA tensor is
            measured on its GPU, everything else on the CPU.
        labels: (n,) integers of any type.
        ks: depths of Recall@K.
        backend: library for the first, approximate pass, "torch" or "faiss"; the results are equal. "auto" is "torch",
            the faster one.
        queries: (q,) numbers of the points that are queries; None: all. One without a point of its class in the gallery
            does not count.
        gallery: (g,) numbers of the points that are searched; None: all. R is the number of those of the query's class.
            A query that is in the gallery does not find itself.

    Returns:
        recall@K for each K, r_precision and map@r, as fractions in [0, 1].

    Raises:
        ValueError: no tensor or array of such numbers, shapes do not fit, a value is not finite, ks are not positive
            integers, queries or gallery are no numbers of points, or no query has a point of its class to find.
        ImportError: backend "faiss", and faiss is not installed.
    """
    embeddings, labels = checked(embeddings, labels)
    ks = _depths(ks)
    if backend not in ("auto", "faiss", "torch"):
        raise ValueError(f"backend: expected auto, faiss or torch, found {backend!r}")
    separate = queries is not None or gallery is not None
    scene = Gallery(
        fixed_point(embeddings), labels, _mask("queries", queries, labels), _mask("gallery", gallery, labels)
    )
    if not len(scene.queries):
        why = "no query has another point of its class in the gallery" if separate else "no class has two members"
        raise ValueError(f"labels: {why}, so no query has an answer")
    per_query = torch.zeros(3, len(labels), dtype=torch.float64, device=labels.device)
    with plain_float32(labels.device):
        for some, ranks in positive_ranks(scene, ks, backend):
            per_query[:, some] = measures(ranks, scene.relevant[some])
    nearest, precision, average = per_query[:, scene.queries].cpu()
    mean = {f"recall@{k}": (nearest < k).double() for k in ks} | {"r_precision": precision, "map@r": average}
    # fsum rounds once, so that the result does not depend on the order of the queries.
    return {name: math.fsum(values.tolist()) / len(values) for name, values in mean.items()}


def measures(ranks: Tensor, relevant: Tensor) -> Tensor:
    """Rank of the nearest positive, R-Precision and average precision at R of each query.

    Args:
        ranks: (q, R) rank of each positive in the query's gallery, from 0, ascending; ranks from R on may be inexact.
        relevant: (q,) number of positives; further ranks of a row are padding.

    Returns:
        (3, q) float64.
    """
    hits = ranks < relevant[:, None]
    place = torch.arange(1, ranks.shape[1] + 1, device=ranks.device)  # of a positive among the positives
    # cumsum adds in order, so that padding does not change the rounding.
    precision = torch.where(hits, place.double() / (ranks + 1), 0.0).cumsum(1)[:, -1]
    return torch.stack([ranks[:, 0].double(), hits.sum(1) / relevant.double(), precision / relevant])


def nearest_neighbors(
    embeddings, queries, depth: int, rows: int = 256, *, gallery=None
) -> Iterator[tuple[slice, Tensor]]:
    """The `depth` nearest other points of each query, nearest first, `rows` queries at a time.

    Args:
        embeddings: (n, D) as in `retrieval_metrics`.
        queries: (q,) numbers of points.
        gallery: (g,) numbers of the points that are searched; None: all. If one of them is a query, each query has at
            most g - 1 neighbours, else g.

    Yields:
        (slice into queries, (rows, depth) indices).

    Raises:
        ValueError: as in `retrieval_metrics`, or a query that is no point.
    """
    embeddings = points(embeddings)
    queries, outside = rows_of("queries", queries, embeddings), None
    if gallery is not None:
        searched = _mask("gallery", gallery, embeddings)
        outside, depth = ~searched, min(depth, int(searched.sum()) - bool(searched[queries].any()))
    return _nearest(fixed_point(embeddings), queries, depth, rows, outside)


def _nearest(
    embeddings: Tensor, queries: Tensor, depth: int, rows: int, outside: Tensor | None
) -> Iterator[tuple[slice, Tensor]]:
    start = 0
    for some, order in sorted_others(embeddings, queries, rows, outside):
        yield slice(start, start + len(some)), order[:, :depth]
        start += len(some)


def _mask(name: str, rows, among: Tensor) -> Tensor | None:
    """(n,) booleans, True for the rows of `among` (n, ...) with these numbers; None for None.

    Raises:
        ValueError: no numbers of rows, or one twice.
    """
    if rows is None:
        return None
    rows = rows_of(name, rows, among)
    if len(rows.unique()) != len(rows):
        raise ValueError(f"{name}: expected each point once, found {len(rows)} numbers of {len(rows.unique())} points")
    mask = torch.zeros(len(among), dtype=torch.bool, device=among.device)
    mask[rows] = True
    return mask


def clustering_nmi(embeddings, labels, seed: int = 0) -> float:
    """Normalised mutual information between the classes and a k-means clustering with as many clusters.

    Args:
        embeddings: (n, D); normalised here. labels: (n,) integers. seed: of the k-means start.

    Raises:
        ValueError: as in `retrieval_metrics`.
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import KMeans
        from sklearn.metrics import normalized_mutual_info_score
    except ImportError as error:
        raise ImportError(f"NMI: {error}; expected the extra pfml[pipeline]: pip install scikit-learn") from error

    embeddings, labels = (part.cpu() for part in checked(embeddings, labels))
    kmeans = KMeans(len(labels.unique()), n_init=1, max_iter=50, random_state=seed)
    clusters = kmeans.fit_predict(normalize(embeddings.float(), dim=1).numpy())
    return float(normalized_mutual_info_score(labels.numpy(), clusters))


def _depths(ks) -> list[int]:
    try:
        depths = [operator.index(k) for k in ks]
    except TypeError:
        raise ValueError(f"ks: expected a sequence of integers such as (1, 2, 4, 8), found {ks!r}") from None
    if not depths or min(depths) < 1:
        raise ValueError(f"ks: expected positive depths, found {depths}")
    return depths
