"""W2, the distance between a class's proxies and the training data that they represent (paper, Table 3, supplement)."""

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

ASSIGNMENTS = ("class", "nearest", "all")


def class_wasserstein(proxies: np.ndarray, embeddings: np.ndarray, mean: bool = True, injective: bool = True) -> float:
    """W2 between M proxies (M, D) and the nearest M-subset of embeddings (n, D).

    The best subset and the best pairing together are one rectangular assignment: the minimum over injections s of
    sqrt(mean_k ||p_k - z_s(k)||^2). M = 1 gives the distance to the nearest embedding (footnote of Table 3).

    Args:
        mean: True: the mean over k inside the root; False: the sum, which grows with the root of M.
        injective: True: no two proxies share an embedding; False: each proxy takes its nearest embedding.

    Raises:
        ValueError: no finite numbers of these shapes; `injective`, and fewer embeddings than proxies.
    """
    proxies, embeddings = _numbers("proxies", proxies), _numbers("embeddings", embeddings)
    if proxies.ndim != 2 or not len(proxies) or embeddings.ndim != 2 or proxies.shape[1] != embeddings.shape[1]:
        raise ValueError(f"proxies, embeddings: expected (M, D) and (n, D), found {proxies.shape}, {embeddings.shape}")
    return _class_distance(proxies, embeddings, mean, injective)


def _class_distance(proxies: np.ndarray, embeddings: np.ndarray, mean: bool, injective: bool) -> float:
    if injective and len(embeddings) < len(proxies):
        raise ValueError(f"a class has {len(embeddings)} embeddings, fewer than its {len(proxies)} proxies")
    cost = cdist(proxies, embeddings, "sqeuclidean")
    squared = cost[linear_sum_assignment(cost)] if injective else cost.min(1)
    return float(np.sqrt(squared.mean() if mean else squared.sum()))


def measured_classes(labels, proxies_per_class: int, assignment: str = "class") -> np.ndarray:
    """The classes that `proxy_wasserstein` averages over, those with enough embeddings."""
    labels = _array("labels", labels)
    if labels.ndim != 1 or (labels.dtype.kind not in "iu" and len(labels)) or (len(labels) and labels.min() < 0):
        raise ValueError(f"labels: expected (n,) integers from 0, found {labels.dtype} of shape {labels.shape}")
    counts = np.bincount(labels.astype(np.int64))
    return np.flatnonzero(counts >= (proxies_per_class if assignment == "class" else 1))


def proxy_wasserstein(proxies, embeddings, labels, mean: bool = True, assignment: str = "class") -> float:
    """Mean over classes of `class_wasserstein`.

    Args:
        proxies: (N, M, D), array or tensor, of the scale of the embeddings (both L2-normalised in the paper's setting).
        embeddings: (n, D).
        labels: (n,) integers of any type in [0, N).
        mean: see `class_wasserstein`.
        assignment: "class": the proxies of a class to embeddings of the class, each embedding at most once; "nearest":
            each proxy to the nearest embedding of its class; "all": one assignment of all proxies to all embeddings of
            any class, then the mean over classes of their proxies' distances (a matrix of N M n numbers).

    A class with fewer embeddings than proxies has no W2 (label noise can leave a small class so few). The mean leaves
    it out, with a warning if it has any embedding.

    Raises:
        ValueError: no finite numbers or no integers, shapes do not fit, no proxies, an unknown assignment, or too few
            embeddings.
    """
    if assignment not in ASSIGNMENTS:
        raise ValueError(f"assignment: expected one of {', '.join(ASSIGNMENTS)}, found {assignment!r}")
    proxies, embeddings = _numbers("proxies", proxies), _numbers("embeddings", embeddings)
    labels = _array("labels", labels)
    _check(proxies, embeddings, labels)
    if assignment == "all":
        return _over_all_classes(proxies, embeddings, mean)
    injective = assignment == "class"
    enough = measured_classes(labels, proxies.shape[1], assignment)
    if not len(enough):
        raise ValueError(f"labels: no class has as many embeddings as proxies ({proxies.shape[1]})")
    small = len(np.unique(labels)) - len(enough)
    if small:
        warnings.warn(f"{small} classes with fewer than {proxies.shape[1]} embeddings are left out of W2", stacklevel=2)
    distances = [_class_distance(proxies[c], embeddings[labels == c], mean, injective) for c in enough]
    return float(np.mean(distances))


def _over_all_classes(proxies: np.ndarray, embeddings: np.ndarray, mean: bool) -> float:
    classes, count, dim = proxies.shape
    if len(embeddings) < classes * count:
        raise ValueError(f"assignment: all {classes * count} proxies need as many embeddings, found {len(embeddings)}")
    cost = cdist(proxies.reshape(-1, dim), embeddings, "sqeuclidean")
    squared = cost[linear_sum_assignment(cost)].reshape(classes, count)
    return float(np.sqrt(squared.mean(1) if mean else squared.sum(1)).mean())


def spread(embeddings, labels) -> float:
    """Mean over classes of the root mean squared distance of a class's embeddings to their centre.

    Embeddings in a narrow cone have a small W2 by scale alone. W2 / spread does not depend on the scale.
    """
    embeddings, labels = _numbers("embeddings", embeddings).astype(np.float64), _array("labels", labels)
    if labels.shape != embeddings.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(f"labels: expected {len(embeddings)} integers, found {labels.dtype} of shape {labels.shape}")
    groups = [embeddings[labels == c] for c in np.unique(labels)]
    return float(np.mean([np.sqrt(((g - g.mean(0)) ** 2).sum(1).mean()) for g in groups]))


def unit(vectors: np.ndarray) -> np.ndarray:
    """L2-normalised along the last axis."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _numbers(name: str, values) -> np.ndarray:
    """Finite real numbers; those in half precision as float32."""
    values = _array(name, values)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected real numbers, found {values.dtype}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite values, found NaN or infinity")
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _array(name: str, values) -> np.ndarray:
    """A tensor or an array as an array. ValueError for tables, and for lists of tensors or of unlike rows."""
    kind = type(values).__name__
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        return (values.float() if values.is_floating_point() and values.element_size() < 4 else values).numpy()
    if hasattr(values, "to_numpy"):
        raise ValueError(f"{name}: expected a tensor or an array, found a {kind}; give its .to_numpy()")
    if isinstance(values, list | tuple) and any(hasattr(part, "detach") for part in values):
        raise ValueError(f"{name}: expected one tensor or array, found a {kind} of tensors; join them with torch.stack")
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name}: expected a tensor or an array, found a {kind}: {error}") from None


def _check(proxies, embeddings, labels) -> None:
    if proxies.ndim != 3 or proxies.shape[1] < 1:
        raise ValueError(f"proxies: expected (classes, proxies per class >= 1, dimension), found {proxies.shape}")
    if embeddings.ndim != 2 or embeddings.shape[1] != proxies.shape[2]:
        raise ValueError(f"embeddings: expected (n, {proxies.shape[2]}), found {embeddings.shape}")
    if labels.shape != embeddings.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(f"labels: expected {len(embeddings)} integers, found {labels.dtype} of shape {labels.shape}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(proxies)):
        raise ValueError(f"labels: expected 0 to {len(proxies) - 1}, found {labels.min()} to {labels.max()}")
