"""Clustering, or facility location: Song, Jegelka, Rathod and Murphy, "Deep Metric Learning via Facility Location",
CVPR 2017 (arXiv 1612.01213); TensorFlow 1, contrib/losses/python/metric_learning/metric_loss_ops.py, cluster_loss.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.ranges import Count, CountOrZero, NonNegative


@baseline("Clustering", acts="pair", pairs=True)
class Clustering(nn.Module):
    """The batch clustered by its classes against the clustering that is wrong and yet compact:

    L = [ F(S) + gamma (1 - NMI(S)) - F* ]+.

    F(S) is minus the sum of the images' distances to the nearest of the medoids S, as many as the batch has classes;
    F* is minus the sum over classes of the least sum of distances from one of its images to the others. S is searched
    for the maximum of the first two terms: greedily, then `rounds` of local search. Distances are Euclidean ones of
    embeddings at length 1; the gradient passes through those from images to their medoids and through nothing else.

    Args:
        gamma: weight of the margin; the code has no default and the paper's value is not known to us.
        rounds: of the local search; the code 5, or 0.

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    def __init__(self, num_classes: Count, embedding_dim: Count, gamma: NonNegative = 1.0, rounds: CountOrZero = 5):
        super().__init__()
        self.sizes = num_classes, embedding_dim
        self.gamma, self.rounds = gamma, rounds

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar."""
        units = F.normalize(embeddings, dim=1)
        found, own, agreement = self.medoids(units.detach(), labels)
        gap = travel(units, own).sum() - travel(units, found).sum() + self.gamma * (1.0 - agreement)
        return F.relu(gap)

    @torch.no_grad()
    def medoids(self, units: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, float]:
        """Rows (B,) of each image's medoid in the clustering found, and in that by classes; their NMI."""
        points = units.double()
        distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").cpu().numpy()
        classes = labels.unique(return_inverse=True)[1].cpu().numpy()
        agreement = Agreement(classes)
        chosen = greedy(distances, agreement, self.gamma)
        chosen = refine(distances, agreement, self.gamma, chosen, self.rounds)
        found = chosen[distances[chosen].argmin(0)]
        own = np.where(classes[:, None] == classes, distances, 0).sum(1)  # distances to the images of its class
        own = np.where(classes[:, None] == classes, own, np.inf).argmin(1)
        rows = (torch.from_numpy(some).to(labels.device) for some in (found, own))
        return *rows, agreement.of(assign(distances, chosen))


def travel(units: Tensor, rows: Tensor) -> Tensor:
    """Distances (B,) of each row of `units` from units[rows]; at distance 0 the slope is 0."""
    squared = (units - units[rows]).square().sum(1)
    apart = squared > 0
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)


# --- The search for medoids: greedy, then local search, both drawn to clusterings unlike the classes. It maximizes
# gamma (1 - NMI) minus the sum of the images' distances to their medoids. Nothing below has a gradient. Distances are a
# matrix (B, B), classes numbers from 0 without gaps (B,).


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
