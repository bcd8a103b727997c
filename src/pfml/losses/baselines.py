"""The baselines, as pytorch-metric-learning implements them, behind one calling convention.

The library is imported where a baseline is built, not before: field methods never pay for it.
"""

import torch
from torch import nn


class LibraryLoss(nn.Module):
    """A library loss with its miner (if any) and its proxies in the shape (classes, per class, D) (if any)."""

    def __init__(self, loss: nn.Module, miner: nn.Module | None = None, proxies=None):
        super().__init__()
        self.loss, self.miner, self._proxies = loss, miner, proxies

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor, indices_tuple=None) -> torch.Tensor:
        """Embeddings (B, D) of any scale, labels (B,) integers -> scalar."""
        if self.miner is not None and indices_tuple is None:
            indices_tuple = self.miner(embeddings, labels)
        return self.loss(embeddings, labels, indices_tuple)

    @property
    def proxies(self) -> torch.Tensor | None:
        return None if self._proxies is None else self._proxies(self.loss)


def proxy_anchor(num_classes: int, embedding_dim: int, margin: float = 0.1, scale: float = 32.0) -> LibraryLoss:
    """Kim et al., CVPR 2020; `scale` is the paper's alpha."""
    from pytorch_metric_learning.losses import ProxyAnchorLoss

    loss = ProxyAnchorLoss(num_classes, embedding_dim, margin=margin, alpha=scale)
    return LibraryLoss(loss, proxies=lambda loss: loss.proxies[:, None])


def proxy_nca(num_classes: int, embedding_dim: int, scale: float = 3.0) -> LibraryLoss:
    """Movshovitz-Attias et al., ICCV 2017, softmax form: the own class stands in the denominator too."""
    from pytorch_metric_learning.losses import ProxyNCALoss

    loss = ProxyNCALoss(num_classes, embedding_dim, softmax_scale=scale)
    return LibraryLoss(loss, proxies=lambda loss: loss.proxies[:, None])


def soft_triple(
    num_classes: int, embedding_dim: int, centers_per_class: int = 10, scale: float = 20.0, gamma: float = 0.1,
    margin: float = 0.01,
) -> LibraryLoss:  # fmt: skip
    """Qian et al., ICCV 2019, without the centre-merging regulariser, which the library omits."""
    from pytorch_metric_learning.losses import SoftTripleLoss

    loss = SoftTripleLoss(
        num_classes, embedding_dim, centers_per_class=centers_per_class, la=scale, gamma=gamma, margin=margin
    )
    # The library keeps the centres as columns (D, classes * centers), class by class.
    return LibraryLoss(loss, proxies=lambda loss: loss.fc.T.reshape(num_classes, centers_per_class, embedding_dim))


def multi_similarity(
    num_classes: int, embedding_dim: int, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5,
    epsilon: float = 0.1,
) -> LibraryLoss:  # fmt: skip
    """Wang et al., CVPR 2019, with its pair miner of margin `epsilon`."""
    from pytorch_metric_learning.losses import MultiSimilarityLoss
    from pytorch_metric_learning.miners import MultiSimilarityMiner

    return LibraryLoss(MultiSimilarityLoss(alpha=alpha, beta=beta, base=base), MultiSimilarityMiner(epsilon=epsilon))


def triplet(num_classes: int, embedding_dim: int, margin: float = 0.2, mining: str = "semihard") -> LibraryLoss:
    """Schroff et al., CVPR 2015: mean over the mined triplets (semihard, hard, all) that have a positive loss."""
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import TripletMarginMiner

    return LibraryLoss(TripletMarginLoss(margin=margin), TripletMarginMiner(margin=margin, type_of_triplets=mining))


def contrastive(num_classes: int, embedding_dim: int, pos_margin: float = 0.0, neg_margin: float = 0.5) -> LibraryLoss:
    """Hadsell et al., CVPR 2006, on all pairs of the batch, Euclidean distances of normalised embeddings."""
    from pytorch_metric_learning.losses import ContrastiveLoss

    return LibraryLoss(ContrastiveLoss(pos_margin=pos_margin, neg_margin=neg_margin))
