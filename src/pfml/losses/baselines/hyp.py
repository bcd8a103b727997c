"""Hyp: Ermolov, Mirvakhabova, Khrulkov, Sebe and Oseledets, "Hyperbolic Vision Transformers", CVPR 2022.

Repository htdt/hyp_metric. It also measures retrieval by the distance in the ball, this pipeline by the cosine.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.poincare import ball_distances, to_ball
from pfml.losses.common.ranges import Count, Positive


@baseline("Hyp", acts="pair", pairs=True)
class Hyp(nn.Module):
    """Pairwise cross entropy of distances in the Poincare ball:

    l_ij = -log( exp(-d(z_i, z_j) / T) / sum over k != i of exp(-d(z_i, z_k) / T) ).

    The images of each class in the batch are numbered in order. For every ordered pair of numbers (a, b), z_i are the
    a-th images of the classes that have both, z_j their b-th, and k runs over both; the mean of l over these classes is
    summed over the pairs. With equally many images of each class, which the authors' sampler gives, this is their
    arithmetic; classes with fewer take part in fewer pairs, and an only image in none.

    Args:
        c: curvature, the ball's radius is 1 / sqrt(c).
        temperature: T.
        clip: length to which embeddings are cut before they enter the ball.

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    def __init__(
        self, num_classes: Count, embedding_dim: Count, c: Positive = 0.1, temperature: Positive = 0.2,
        clip: Positive = 2.3,
    ):  # fmt: skip
        super().__init__()
        self.sizes = num_classes, embedding_dim
        self.c, self.temperature, self.clip = c, temperature, clip

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar; 0 without a pair of one class."""
        points = to_ball(embeddings, self.c, self.clip)
        logits = -ball_distances(points, points, self.c) / self.temperature
        rows, counts = rows_of_classes(labels)
        total = 0.0 * embeddings.sum()
        for a in range(rows.shape[1]):
            for b in range(rows.shape[1]):
                both = counts > max(a, b)
                if a == b or not both.any():
                    continue
                left, right = rows[both, a], rows[both, b]
                target = torch.arange(len(left), device=left.device)
                others = logits[left][:, left].masked_fill(target[:, None] == target, -torch.inf)
                total = total + F.cross_entropy(torch.cat([logits[left][:, right], others], 1), target)
        return total


def rows_of_classes(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the batch by class, (classes in the batch, largest count), 0 beyond a class's count, and the counts."""
    _, counts = labels.unique(return_counts=True)
    order = labels.argsort(stable=True)
    slots = torch.arange(int(counts.max()), device=labels.device)
    rows = ((counts.cumsum(0) - counts)[:, None] + slots).clamp_max(len(labels) - 1)
    return torch.where(slots < counts[:, None], order[rows], 0), counts
