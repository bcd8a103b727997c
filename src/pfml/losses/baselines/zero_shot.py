"""No loss: the network as it starts, with its pretrained weights and without a new head, such as the rows DINO and
ViT-S of Table 1.
"""

import torch

from pfml.losses.common.describe import baseline
from pfml.losses.common.ranges import Count


@baseline("Zero-shot", trains=False)
class ZeroShot(torch.nn.Module):
    """The energy is 0 whatever the embeddings, and so is its gradient. A run with it is measured and never trained."""

    def __init__(self, num_classes: Count, embedding_dim: Count):
        super().__init__()
        self.sizes = num_classes, embedding_dim

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """embeddings (B, D), labels (B,) -> scalar 0."""
        return 0.0 * embeddings.sum()
