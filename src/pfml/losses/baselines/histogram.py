"""Histogram loss: Ustinova and Lempitsky, "Learning Deep Embeddings with Histogram Loss", NeurIPS 2016.

Our own, not pytorch-metric-learning's: that one fails at a cosine of 1 and indexes in a way that PyTorch will drop.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.ranges import Count


@baseline("Histogram", acts="pair", pairs=True)
class Histogram(nn.Module):
    """Probability that a random negative pair is more alike than a random positive one: the sum over the nodes r
    of h-_r (h+_1 + ... + h+_r).

    h+ and h- are the histograms of the cosines of all pairs of the batch of equal and of different labels, on R nodes
    from -1 to 1; a cosine counts at its two nearest nodes by its closeness to each.

    Args:
        bins: R - 1.

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    def __init__(self, num_classes: Count, embedding_dim: Count, bins: Count = 150):
        super().__init__()
        self.sizes, self.bins = (num_classes, embedding_dim), bins

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar; 0 without pairs of both kinds."""
        units = F.normalize(embeddings, dim=1)
        first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
        cosines, same = (units @ units.T)[first, second], labels[first] == labels[second]
        if same.all() or not same.any():
            return 0.0 * embeddings.sum()
        return (self.density(cosines[~same]) * self.density(cosines[same]).cumsum(0)).sum()

    def density(self, cosines: Tensor) -> Tensor:
        """Histogram (bins + 1,) of cosines (n,), which sums to 1."""
        place = (cosines + 1) / 2 * self.bins
        below = place.detach().floor().clamp(0, self.bins - 1).long()
        share = place - below
        nodes = torch.arange(self.bins + 1, device=cosines.device)
        # Sums by matrix product: a scattered addition has no fixed order on a GPU.
        counts = (1 - share) @ (below[:, None] == nodes).to(share) + share @ (below[:, None] + 1 == nodes).to(share)
        return counts / len(cosines)
