"""Zero-shot retrieval measures: Recall@K, R-Precision, MAP@R and NMI (formulas and tie rule: docs/evaluation.md).

Embeddings are compared by cosine. A query never retrieves itself: it is removed by index, not by rank. Among equal
similarities the lower index comes first. The member of a class with one member is in the gallery, but no query.
"""

import math
import operator
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pfml.retrieval.inputs import checked, integers, points
from pfml.retrieval.ranks import Gallery, fixed_point, plain_float32, positive_ranks, sorted_others


def retrieval_metrics(embeddings, labels, ks: Sequence[int] = (1, 2, 4, 8), backend: str = "auto") -> dict[str, float]:
    """Recall@K (paper, Sec. 4.1), R-Precision and MAP@R (Musgrave et al. 2020, "A Metric Learning Reality Check").

    Args:
        embeddings: (n, D) numbers of any precision and scale, tensor or array; normalised here. A CUDA tensor is
            measured on its GPU, everything else on the CPU.
        labels: (n,) integers of any type.
        ks: depths of Recall@K.
        backend: library for the first, approximate pass, "torch" or "faiss"; the results are equal. "auto" is "torch",
            the faster one.

    Returns:
        recall@K for each K, r_precision and map@r, as fractions in [0, 1].

    Raises:
        ValueError: no tensor or array of such numbers, shapes do not fit, a value is not finite, ks are not positive
            integers, or no class has two members.
        ImportError: backend "faiss", and faiss is not installed.
    """
    embeddings, labels = checked(embeddings, labels)
    ks = _depths(ks)
    if backend not in ("auto", "faiss", "torch"):
        raise ValueError(f"backend: expected auto, faiss or torch, found {backend!r}")
    gallery = Gallery(fixed_point(embeddings), labels)
    if not len(gallery.queries):
        raise ValueError("labels: no class has two members, so no query has an answer")
    per_query = torch.zeros(3, len(labels), dtype=torch.float64, device=labels.device)
    with plain_float32(labels.device):
        for queries, ranks in positive_ranks(gallery, ks, backend):
            per_query[:, queries] = measures(ranks, gallery.relevant[queries])
    nearest, precision, average = per_query[:, gallery.queries].cpu()
    mean = {f"recall@{k}": (nearest < k).double() for k in ks} | {"r_precision": precision, "map@r": average}
    # fsum rounds once, so that the result does not depend on the order of the queries.
    return {name: math.fsum(values.tolist()) / len(values) for name, values in mean.items()}


def measures(ranks: Tensor, relevant: Tensor) -> Tensor:
    """Rank of the nearest positive, R-Precision and average precision at R of each query.

    Args:
        ranks: (q, R) rank of each positive among all other points, from 0, ascending; ranks from R on may be inexact.
        relevant: (q,) number of positives; further ranks of a row are padding.

    Returns:
        (3, q) float64.
    """
    hits = ranks < relevant[:, None]
    place = torch.arange(1, ranks.shape[1] + 1, device=ranks.device)  # of a positive among the positives
    # cumsum adds in order, so that padding does not change the rounding.
    precision = torch.where(hits, place.double() / (ranks + 1), 0.0).cumsum(1)[:, -1]
    return torch.stack([ranks[:, 0].double(), hits.sum(1) / relevant.double(), precision / relevant])


def nearest_neighbors(embeddings, queries, depth: int, rows: int = 256) -> Iterator[tuple[slice, Tensor]]:
    """The `depth` nearest other points of each query, nearest first, `rows` queries at a time.

    Args:
        embeddings: (n, D) as in `retrieval_metrics`.
        queries: (q,) numbers of points.

    Yields:
        (slice into queries, (rows, depth) indices).

    Raises:
        ValueError: as in `retrieval_metrics`, or a query that is no point.
    """
    gallery, queries = points(embeddings), integers("queries", queries)
    if queries.ndim != 1:
        raise ValueError(f"queries: expected shape (q,), found {tuple(queries.shape)}")
    if len(queries) and not 0 <= queries.min() <= queries.max() < len(gallery):
        found = f"{int(queries.min())} to {int(queries.max())}"
        raise ValueError(f"queries: expected numbers of points, 0 to {len(gallery) - 1}, found {found}")
    return _nearest(fixed_point(gallery), queries.to(gallery.device), depth, rows)


def _nearest(gallery: Tensor, queries: Tensor, depth: int, rows: int) -> Iterator[tuple[slice, Tensor]]:
    start = 0
    for some, order in sorted_others(gallery, queries, rows):
        yield slice(start, start + len(some)), order[:, :depth]
        start += len(some)


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
