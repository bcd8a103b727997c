"""The baselines, as pytorch-metric-learning implements them, behind one calling convention.

The library is imported where a baseline is built, not before: field methods never pay for it.
"""

import torch
import torch.nn.functional as F
from torch import nn

from pfml.losses.common.checks import check_batch, check_count, check_number, check_option


class LibraryLoss(nn.Module):
    """A library loss with its miner (if any) and its proxies in the shape (classes, per class, D) (if any). Every batch
    is checked to fit `sizes`, (number of classes, D).
    """

    def __init__(self, loss: nn.Module, miner: nn.Module | None = None, proxies=None, *, sizes: tuple[int, int]):
        super().__init__()
        self.loss, self.miner, self._proxies, self._sizes = loss, miner, proxies, sizes

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor, indices_tuple=None) -> torch.Tensor:
        """Embeddings (B, D) of any scale, labels (B,) integers -> scalar."""
        check_batch(embeddings, labels, *self._sizes, least=1)
        if self.miner is not None and indices_tuple is None:
            indices_tuple = self.miner(embeddings, labels)
        return self.loss(embeddings, labels, indices_tuple)

    @property
    def proxies(self) -> torch.Tensor | None:
        return None if self._proxies is None else self._proxies(self.loss)


def proxy_anchor(num_classes: int, embedding_dim: int, margin: float = 0.1, scale: float = 32.0) -> LibraryLoss:
    """Kim et al., CVPR 2020; `scale` is the paper's alpha."""
    from pytorch_metric_learning.losses import ProxyAnchorLoss

    check_number("margin", margin, at_least=0)
    check_number("scale", scale, above=0)
    loss = ProxyAnchorLoss(num_classes, embedding_dim, margin=margin, alpha=scale)
    return LibraryLoss(loss, proxies=lambda loss: loss.proxies[:, None], sizes=(num_classes, embedding_dim))


def proxy_nca(num_classes: int, embedding_dim: int, scale: float = 3.0) -> LibraryLoss:
    """Movshovitz-Attias et al., ICCV 2017, softmax form: the own class stands in the denominator too."""
    from pytorch_metric_learning.losses import ProxyNCALoss

    check_number("scale", scale, above=0)
    loss = ProxyNCALoss(num_classes, embedding_dim, softmax_scale=scale)
    return LibraryLoss(loss, proxies=lambda loss: loss.proxies[:, None], sizes=(num_classes, embedding_dim))


class SoftTriple(LibraryLoss):
    """The library's loss plus the regulariser of Qian et al. that it omits.

    It draws the centres w of a class together, so that those it does not need merge:
    tau * sum over classes and pairs s < t of sqrt(2 - 2 w_s.w_t + 1e-5) / (N K (K - 1)), none for K = 1.
    """

    def __init__(self, loss: nn.Module, proxies, tau: float, sizes: tuple[int, int]):
        super().__init__(loss, proxies=proxies, sizes=sizes)
        self.tau = tau

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor, indices_tuple=None) -> torch.Tensor:
        """Embeddings (B, D) of any scale, labels (B,) integers -> scalar."""
        value, (classes, centers, _) = super().forward(embeddings, labels, indices_tuple), self.proxies.shape
        if not self.tau or centers == 1:
            return value
        units = F.normalize(self.proxies, dim=2)
        first, second = torch.triu_indices(centers, centers, offset=1, device=units.device)
        cosines = (units[:, first] * units[:, second]).sum(2)
        return value + self.tau * (2.0 + 1e-5 - 2.0 * cosines).sqrt().sum() / (classes * centers * (centers - 1))


def soft_triple(
    num_classes: int, embedding_dim: int, centers_per_class: int = 10, scale: float = 20.0, gamma: float = 0.1,
    margin: float = 0.01, tau: float = 0.0,
) -> SoftTriple:  # fmt: skip
    """Qian et al., ICCV 2019; `tau` weighs the regulariser that merges centres (the paper: 0.2; 0: as the library)."""
    from pytorch_metric_learning.losses import SoftTripleLoss

    check_count("centers_per_class", centers_per_class, 1)
    for name, value in (("scale", scale), ("gamma", gamma)):
        check_number(name, value, above=0)
    for name, value in (("margin", margin), ("tau", tau)):
        check_number(name, value, at_least=0)
    loss = SoftTripleLoss(
        num_classes, embedding_dim, centers_per_class=centers_per_class, la=scale, gamma=gamma, margin=margin
    )
    # The library keeps the centres as columns (D, classes * centers), class by class.
    centres = (num_classes, centers_per_class, embedding_dim)
    return SoftTriple(loss, lambda loss: loss.fc.T.reshape(centres), tau, (num_classes, embedding_dim))


def multi_similarity(
    num_classes: int, embedding_dim: int, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5,
    epsilon: float = 0.1,
) -> LibraryLoss:  # fmt: skip
    """Wang et al., CVPR 2019, with its pair miner of margin `epsilon`."""
    from pytorch_metric_learning.losses import MultiSimilarityLoss
    from pytorch_metric_learning.miners import MultiSimilarityMiner

    for name, value in (("alpha", alpha), ("beta", beta)):
        check_number(name, value, above=0)
    check_number("epsilon", epsilon, at_least=0)
    loss, miner = MultiSimilarityLoss(alpha=alpha, beta=beta, base=base), MultiSimilarityMiner(epsilon=epsilon)
    return LibraryLoss(loss, miner, sizes=(num_classes, embedding_dim))


def triplet(num_classes: int, embedding_dim: int, margin: float = 0.2, mining: str = "semihard") -> LibraryLoss:
    """Schroff et al., CVPR 2015: mean over the mined triplets (semihard, hard, all) that have a positive loss."""
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import TripletMarginMiner

    check_number("margin", margin, at_least=0)
    check_option("mining", mining, ("semihard", "hard", "all"))
    miner = TripletMarginMiner(margin=margin, type_of_triplets=mining)
    return LibraryLoss(TripletMarginLoss(margin=margin), miner, sizes=(num_classes, embedding_dim))


def contrastive(num_classes: int, embedding_dim: int, pos_margin: float = 0.0, neg_margin: float = 0.5) -> LibraryLoss:
    """Hadsell et al., CVPR 2006, on all pairs of the batch, Euclidean distances of normalised embeddings."""
    from pytorch_metric_learning.losses import ContrastiveLoss

    for name, value in (("pos_margin", pos_margin), ("neg_margin", neg_margin)):
        check_number(name, value, at_least=0)
    return LibraryLoss(
        ContrastiveLoss(pos_margin=pos_margin, neg_margin=neg_margin), sizes=(num_classes, embedding_dim)
    )
