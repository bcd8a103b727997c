"""Few-shot classification of unseen classes by embeddings, with only a few labelled images a class."""

from collections.abc import Iterator

import numpy as np

# Classes of an episode, and queries of each class, as in Vinyals et al. 2016 and Snell et al. 2017.
WAYS, QUERIES = 5, 15


def few_shot_accuracy(embeddings: np.ndarray, labels: np.ndarray, shots: int, episodes: int = 1000) -> float | None:
    """Mean accuracy over episodes of the nearest class mean (Snell et al., NeurIPS 2017, Eq. 2, on unit embeddings).

    An episode draws WAYS classes, and for each class `shots` labelled images and QUERIES queries. A query gets the
    class whose labelled images have the nearest mean. Episodes depend on the labels only, so that methods are compared
    on the same ones.

    Args:
        embeddings: (n, D) of any length but 0. labels: (n,).

    Returns:
        a fraction in [0, 1]; None if fewer than WAYS classes have shots + QUERIES images.
    """
    units = embeddings.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    units -= units.mean(0)  # keeps distances, and their digits in the products below for points in a narrow cone
    hits = [_hits(units[rows[:, :shots]].mean(1), units[rows[:, shots:]]) for rows in _draws(labels, shots, episodes)]
    return float(np.mean(hits)) if hits else None


def _draws(labels: np.ndarray, shots: int, episodes: int) -> Iterator[np.ndarray]:
    """(WAYS, shots + QUERIES) row numbers of each episode, the labelled ones first."""
    classes, counts = np.unique(labels, return_counts=True)
    members = [np.flatnonzero(labels == one) for one in classes[counts >= shots + QUERIES]]
    random = np.random.default_rng(shots)
    for _ in range(episodes if len(members) >= WAYS else 0):
        chosen = random.choice(len(members), WAYS, replace=False)
        yield np.stack([random.choice(members[one], shots + QUERIES, replace=False) for one in chosen])


def _hits(means: np.ndarray, queries: np.ndarray) -> float:
    """Share of queries (WAYS, QUERIES, D) whose nearest mean (WAYS, D) is that of their own class."""
    nearest = (means**2).sum(1) - 2 * queries @ means.T  # the query's own length is common to all
    return float((nearest.argmin(2) == np.arange(len(means))[:, None]).mean())
