"""Easy positive, semi-hard negative: Xuan, Stylianou and Pless, WACV 2020 (arXiv 1904.04370).

Repository littleredxh/EasyPositiveHardNegative, the newest version of its loss.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.ranges import Count, Positive

DUPLICATE = 0.9999  # a positive nearer than this cosine counts as the same picture


@baseline("ESPHN", acts="pair", pairs=True)
class EasyPositive(nn.Module):
    """One triplet for each anchor: its nearest positive and its nearest negative that is no nearer than that one.

    L = mean over anchors of -log( exp(s_ap / T) / (exp(s_ap / T) + exp(s_an / T)) ), s cosines. With mining "hard" the
    negative is the nearest of all (EPHN). An anchor takes no part when its positive or negative cosine is not above 0,
    as in the authors' code.

    Args:
        temperature: T; the code 0.1 (its earlier version 1).
        mining: "semihard" or "hard".

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    def __init__(
        self, num_classes: Count, embedding_dim: Count, temperature: Positive = 0.1,
        mining: Literal["semihard", "hard"] = "semihard",
    ):  # fmt: skip
        super().__init__()
        self.sizes = num_classes, embedding_dim
        self.temperature, self.mining = temperature, mining

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar; 0 if no anchor has a triplet."""
        units = F.normalize(embeddings, dim=1)
        cosines = units @ units.T
        found, positive, negative = self._mine(cosines.detach(), labels)
        if not found.any():
            return 0.0 * embeddings.sum()
        pairs = cosines.gather(1, torch.stack([positive, negative], 1))[found]
        return -F.log_softmax(pairs / self.temperature, dim=1)[:, 0].mean()

    def _mine(self, cosines: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which anchors (B,) have a triplet, and the rows (B,) of its positive and its negative."""
        same = labels[:, None] == labels[None]
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        nearest, positive = cosines.masked_fill(~same | own | (cosines > DUPLICATE), -1).max(1)
        refused = same | (cosines > nearest[:, None]) if self.mining == "semihard" else same
        hardest, negative = cosines.masked_fill(refused, -1).max(1)
        return (nearest > 0) & (hardest > 0), positive, negative
