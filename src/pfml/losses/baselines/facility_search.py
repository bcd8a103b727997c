"""Medoids of a batch by facility location: greedy, then local search, both drawn to clusterings unlike the classes.

What Song et al., CVPR 2017, maximise for their `Clustering` loss: minus the images' distances to their medoids plus
gamma (1 - NMI). Nothing here has a gradient. Distances are a matrix (B, B), classes numbers from 0 without gaps (B,).
"""

from __future__ import annotations

import numpy as np


class Agreement:
    """NMI of the classes with many clusterings at once: I / sqrt(H H), as scikit-learn had it then (geometric).

    Counts are whole numbers up to B, so that n log n comes from a table.
    """

    def __init__(self, classes: np.ndarray):
        count = np.arange(len(classes) + 1)
        self.table = count * np.log(np.maximum(count, 1))
        self.classes = classes
        self.one_hot = np.eye(classes.max() + 1, dtype=np.float32)[classes]
        self.total = self.table[-1]
        self.within = self._sum(self.one_hot.sum(0))

    def _sum(self, counts: np.ndarray) -> np.ndarray:
        return self.table[counts.astype(np.intp)].sum(-1)

    def __call__(self, moved: np.ndarray, base: np.ndarray) -> np.ndarray:
        """(c,): of the clusterings in which the images moved[i] (c, B) form a cluster, the others as in base (B,).

        0 where one of the two has a single cluster, 1 where both have.
        """
        moved = moved.astype(np.float32)
        cells, cell = np.unique(base * self.one_hot.shape[1] + self.classes, return_inverse=True)
        occupied = np.eye(len(cells), dtype=np.float32)[cell]  # only cells that hold an image count: B at most
        kept = occupied.sum(0) - moved @ occupied
        owner = np.unique(cells // self.one_hot.shape[1], return_inverse=True)[1]
        sizes = kept @ np.eye(owner.max() + 1, dtype=np.float32)[owner]
        joint = self._sum(kept) + self._sum(moved @ self.one_hot)
        clusters = self._sum(sizes) + self._sum(moved.sum(1, keepdims=True))
        own, found = self.total - self.within, self.total - clusters  # B times the two entropies
        information = joint - self.within - clusters + self.total
        single = np.minimum(own, found) < 1e-9
        return np.where(
            single, np.maximum(own, found) < 1e-9, information / np.sqrt(np.where(single, 1.0, own * found))
        )

    def of(self, clusters: np.ndarray) -> float:
        """NMI with one clustering (B,)."""
        return float(self(clusters[None] == clusters[0], clusters)[0])


def assign(distances: np.ndarray, medoids: np.ndarray) -> np.ndarray:
    """Number (B,) of each image's nearest medoid, of equals the first; a medoid is its own."""
    nearest = distances[medoids].argmin(0)
    nearest[medoids] = np.arange(len(medoids))
    return nearest


def greedy(distances: np.ndarray, agreement: Agreement, gamma: float) -> np.ndarray:
    """As many medoids (K,) as classes, one after another, each the best beside those before it."""
    images = np.arange(len(distances))
    base, nearest, medoids = np.zeros_like(images), np.full(len(images), np.inf), []
    for number in range(agreement.one_hot.shape[1]):
        free = np.setdiff1d(images, medoids)
        moved = distances[free] < nearest
        moved[np.arange(len(free)), free] = True
        energy = -np.minimum(distances[free], nearest).sum(1)
        best = (energy + gamma * (1 - agreement(moved, base))).argmax()
        medoids.append(free[best])
        base[moved[best]] = number
        nearest = np.minimum(nearest, distances[free[best]])
    return np.array(medoids)


def refine(
    distances: np.ndarray, agreement: Agreement, gamma: float, medoids: np.ndarray, rounds: int
) -> np.ndarray:  # fmt: skip
    """Medoids (K,) after `rounds` of local search: each cluster in turn takes the best of its members.

    Members are those at the round's start, the energy of a member is minus its distances to them, and the NMI is that
    of all images assigned anew.
    """
    medoids = medoids.copy()
    for _ in range(rounds):
        before, clusters = medoids.copy(), assign(distances, medoids)
        for number in range(len(medoids)):
            members = np.flatnonzero(clusters == number)
            moved, base = swaps(distances, medoids, number, members)
            energy = -distances[np.ix_(members, members)].sum(0)
            medoids[number] = members[(energy + gamma * (1 - agreement(moved, base))).argmax()]
        if (medoids == before).all():
            break  # all further rounds would do the same
    return medoids


def swaps(
    distances: np.ndarray, medoids: np.ndarray, number: int, members: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which images (m, B) fall to medoid `number` when it is each of `members` (m,), and where (B,) they are else."""
    count = len(distances)
    moved, base = np.ones((len(members), count), dtype=bool), np.zeros(count, dtype=np.intp)
    others = np.delete(medoids, number)
    if len(others):
        numbers, between = np.delete(np.arange(len(medoids)), number), distances[others]
        base = numbers[between.argmin(0)]
        gap = distances[members] - between.min(0)
        moved = (gap < 0) | ((gap == 0) & (number < base))
        moved[:, others] = False
        base[others] = numbers
    moved[np.arange(len(members)), members] = True
    return moved, base
