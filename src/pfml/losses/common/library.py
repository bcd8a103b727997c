"""Losses of pytorch-metric-learning behind the one calling convention, and what several of them share.

The library is imported where a loss is built, not before: the other losses never pay for it.
"""

from functools import cache

import torch
from torch import nn

from pfml.losses.common.checks import check_batch
from pfml.losses.common.draws import SeededMiner


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


def with_class_weights(loss: nn.Module, num_classes: int, embedding_dim: int, per_class: int = 1) -> LibraryLoss:
    """A loss whose weights W (D, classes * per_class) are the proxies."""
    return LibraryLoss(
        loss,
        proxies=lambda loss: loss.W.T.reshape(num_classes, per_class, embedding_dim),
        sizes=(num_classes, embedding_dim),
    )


@cache
def clamped_cosine() -> type:
    """Cosines below 1 by more than rounding: at 1 the arc cosine has no slope."""
    from pytorch_metric_learning.distances import CosineSimilarity

    class ClampedCosine(CosineSimilarity):
        def compute_mat(self, query_emb, ref_emb):
            return super().compute_mat(query_emb, ref_emb).clamp(-1 + 1e-6, 1 - 1e-6)

    return ClampedCosine


def squared_length(weight: float) -> dict:
    """Arguments of a library loss for a penalty weight * mean |e|^2; without weight for none."""
    from pytorch_metric_learning.regularizers import LpRegularizer

    return {"embedding_regularizer": LpRegularizer(power=2), "embedding_reg_weight": weight} if weight else {}


def distance_weighted_margin(
    num_classes: int, embedding_dim: int, margin: float, beta: float, nu: float, cutoff: float, upper_cutoff: float,
    *, per_class: bool,
) -> LibraryLoss:  # fmt: skip
    """Wu et al., ICCV 2017: `baselines/margin.py` states it. One beta, or one of each class."""
    from pytorch_metric_learning.losses import MarginLoss
    from pytorch_metric_learning.miners import DistanceWeightedMiner

    loss = MarginLoss(
        margin=margin, nu=nu, beta=beta, learn_beta=True, num_classes=num_classes if per_class else None
    )  # fmt: skip
    miner = SeededMiner(DistanceWeightedMiner(cutoff=cutoff, nonzero_loss_cutoff=upper_cutoff))
    return LibraryLoss(loss, miner, sizes=(num_classes, embedding_dim))
