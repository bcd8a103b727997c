"""DCML-MDW, a reconstruction: Zheng, Wang, Lu and Zhou, "Deep Compositional Metric Learning", CVPR 2021, repository
wzzheng/DCML.

The head is that of the code. How the margin loss lies on its four composites is open: the published branch for one loss
cannot run. The two readings are `reading`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.draws import Draws
from pfml.losses.common.method import Method
from pfml.losses.common.ranges import Count, NonNegative, Positive
from pfml.losses.common.triplets import Boundaries, distance_weighted, margin_energy

PARTS = 4  # the code works with no other number


class Composites(nn.Module):
    """Four linear layers e_1 ... e_4 with D / 4 dimensions each, and four compositors: softmax weights p_i over the
    parts, from all of them without a gradient to them. Composite c_i = sum over j of p_ij e_j.

    Features (n, C) -> rows (n, 2 D + 1) in training mode: the composites, the parts, and the sum over i of
    -log max_j p_ij. In evaluation mode embeddings (n, D), the composites or the parts side by side.

    Args:
        settings: of the loss.
    """

    def __init__(self, features: int, embedding_dim: int, settings: Mapping):
        super().__init__()
        if embedding_dim % PARTS:
            raise ValueError(f"model.embedding_dim: expected a multiple of {PARTS} parts, found {embedding_dim}")
        self.dim, self.reading = embedding_dim // PARTS, settings["reading"]
        self.parts = nn.ModuleList(nn.Linear(features, self.dim) for _ in range(PARTS))
        self.compositors = nn.ModuleList(nn.Linear(embedding_dim, PARTS) for _ in range(PARTS))

    @staticmethod
    def width(embedding_dim: int) -> int:
        return 2 * embedding_dim + 1

    def forward(self, features: Tensor) -> Tensor:
        parts = torch.stack([part(features) for part in self.parts], 1)  # (n, 4, D / 4)
        fixed = parts.detach().flatten(1)
        logs = torch.stack([compositor(fixed).log_softmax(1) for compositor in self.compositors], 1)  # (n, i, j)
        composites = (logs.exp() @ parts).flatten(1)
        rows = torch.cat([composites, parts.flatten(1), -logs.amax(2).sum(1, keepdim=True)], 1)
        return rows if self.training else chosen(rows, self.reading)


def chosen(rows: Tensor, reading: str) -> Tensor:
    """Rows (n, 2 D + 1) -> embeddings (n, D)."""
    dim = rows.shape[1] // 2
    return rows[:, :dim] if reading == "composites" else rows[:, dim : 2 * dim]


@baseline("DCML-MDW (reconstruction)", pairs=True, head=Composites)
class DCML(Method):
    """A margin loss with distance-weighted triplets and a learned boundary of each class on composed embeddings, plus
    reinforce * mean over images of the sum over i of -log max_j p_ij, which trains the compositors alone.

    reading "composites": one margin loss, on all composites side by side at length 1, which are the embedding. The code
    joins composites so where it has two or three losses.
    reading "ensemble": a margin loss on the parts e_1 ... e_4 side by side, which are the embedding, plus one on each
    composite, with boundaries of their own, as the figure in the repository shows; the weights, all 1, are ours.

    Args:
        num_classes: N.
        embedding_dim: D, a multiple of 4; the authors' 512.
        reading: see above.
        margin, beta: of the margin loss, and where boundaries start.
        cutoff: distances below count as at it.
        reinforce: weight of the last term.
        boundary_rate: learning rate of the boundaries as a multiple of proxy_lr; authors 50 times the network's.

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    def __init__(
        self, num_classes: Count, embedding_dim: Count, reading: Literal["composites", "ensemble"] = "composites",
        margin: NonNegative = 0.2, beta: Positive = 1.2, cutoff: Positive = 0.5, reinforce: NonNegative = 1.0,
        boundary_rate: Positive = 1.0,
    ):  # fmt: skip
        super().__init__()
        if embedding_dim % PARTS:
            raise ValueError(f"embedding_dim: expected a multiple of {PARTS}, found {embedding_dim}")
        self.sizes, self.reading = (num_classes, Composites.width(embedding_dim)), reading
        self.margin, self.cutoff, self.reinforce = margin, cutoff, reinforce
        losses = 1 if reading == "composites" else 1 + PARTS
        self.boundaries = Boundaries(losses, num_classes, beta, boundary_rate)
        self.draws = Draws()

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Rows (B, 2 D + 1), labels (B,) in [0, N) -> scalar."""
        generator, composites = self.draws.generator(rows.device), rows[:, : rows.shape[1] // 2]
        embeddings = [chosen(rows, self.reading)]
        if self.reading == "ensemble":
            embeddings += composites.chunk(PARTS, 1)
        total = self.reinforce * rows[:, -1].mean()
        for embedding, beta in zip(embeddings, self.boundaries.beta):
            units = F.normalize(embedding, dim=1)
            triplets = distance_weighted(units, labels, generator, self.cutoff)
            total = total + margin_energy(units, triplets, beta[labels], self.margin)
        return total

    def embedding(self, rows: Tensor) -> Tensor:
        return chosen(rows, self.reading)
