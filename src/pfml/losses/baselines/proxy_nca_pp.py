"""ProxyNCA++: Teh, DeVries and Taylor, ECCV 2020 (arXiv 2004.01113), repository euwern/proxynca_pp."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.ranges import Count, Positive


@baseline("ProxyNCA++", acts="proxy")
class ProxyNCAPlusPlus(nn.Module):
    """Probability of the own class's proxy among all proxies:

    L = mean over x of -log( exp(-|x - p_y|^2 / T) / sum over all classes c of exp(-|x - p_c|^2 / T) ),

    x and p of length 1. The other parts of ProxyNCA++ are the recipe's: global max pooling, LayerNorm before the head,
    batches of a few images per class and fast proxies.

    Args:
        num_classes: N.
        embedding_dim: D.
        temperature: T, the paper 1/9.

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    def __init__(self, num_classes: Count, embedding_dim: Count, temperature: Positive = 1 / 9):
        super().__init__()
        self.sizes = num_classes, embedding_dim
        self.temperature = temperature
        self.proxies = nn.Parameter(torch.randn(num_classes, 1, embedding_dim) / 8)  # the authors' start

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar."""
        cosines = F.normalize(embeddings, dim=1) @ F.normalize(self.proxies[:, 0], dim=1).T
        return F.cross_entropy(2 * cosines / self.temperature, labels)  # |x - p|^2 = 2 - 2 cos; the 2 cancels
