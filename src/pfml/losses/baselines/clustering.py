"""Clustering, or facility location: Song, Jegelka, Rathod and Murphy, "Deep Metric Learning via Facility Location",
CVPR 2017 (arXiv 1612.01213); TensorFlow 1, contrib/losses/python/metric_learning/metric_loss_ops.py, cluster_loss.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.baselines.facility_search import Agreement, assign, greedy, refine
from pfml.losses.common.checks import check_batch, check_count, check_number


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

    def __init__(self, num_classes: int, embedding_dim: int, gamma: float = 1.0, rounds: int = 5):
        super().__init__()
        check_number("gamma", gamma, at_least=0)
        self.sizes = check_count("num_classes", num_classes, 1), check_count("embedding_dim", embedding_dim, 1)
        self.gamma, self.rounds = gamma, check_count("rounds", rounds, 0)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar."""
        check_batch(embeddings, labels, *self.sizes, least=1)
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
