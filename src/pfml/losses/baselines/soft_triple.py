"""SoftTriple: Qian, Shang, Sun, Hu, Li and Jin, ICCV 2019 by pytorch-metric-learning, which omits its regularizer."""

import torch
import torch.nn.functional as F
from torch import nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss, columns
from pfml.losses.common.ranges import Count, NonNegative, Positive


class SoftTriple(LibraryLoss):
    """The library's loss plus the regularizer of Qian et al. that it omits.

    It draws the centres w of a class together, so that those it does not need merge:
    tau * sum over classes and pairs s < t of sqrt(2 - 2 w_s.w_t + 1e-5) / (N K (K - 1)), none for K = 1.
    """

    def __init__(self, loss: nn.Module, proxies, tau: float, sizes: tuple[int, int]):
        super().__init__(loss, proxies=proxies, sizes=sizes)
        self.tau = tau

    def energy(self, embeddings: torch.Tensor, labels: torch.Tensor, indices_tuple) -> torch.Tensor:
        value, (classes, centers, _) = super().energy(embeddings, labels, indices_tuple), self.proxies.shape
        if not self.tau or centers == 1:
            return value
        units = F.normalize(self.proxies, dim=2)
        first, second = torch.triu_indices(centers, centers, offset=1, device=units.device)
        cosines = (units[:, first] * units[:, second]).sum(2)
        return value + self.tau * (2.0 + 1e-5 - 2.0 * cosines).sqrt().sum() / (classes * centers * (centers - 1))


@baseline("SoftTriple", acts="proxy")
def soft_triple(
    num_classes: Count, embedding_dim: Count, centers_per_class: Count = 10, scale: Positive = 20.0,
    gamma: Positive = 0.1, margin: NonNegative = 0.01, tau: NonNegative = 0.0,
) -> SoftTriple:  # fmt: skip
    """Qian et al., ICCV 2019; `tau` weighs the regularizer that merges centres (the paper: 0.2; 0: as the library)."""
    from pytorch_metric_learning.losses import SoftTripleLoss

    loss = SoftTripleLoss(
        num_classes, embedding_dim, centers_per_class=centers_per_class, la=scale, gamma=gamma, margin=margin
    )
    centres = (num_classes, centers_per_class, embedding_dim)
    return SoftTriple(loss, columns("fc", centres), tau, (num_classes, embedding_dim))
