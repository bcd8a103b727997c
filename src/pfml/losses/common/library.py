"""Losses of pytorch-metric-learning behind the one calling convention, and what several of them share.

The library is imported where a loss is built, not before: the other losses never pay for it.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from pfml.losses.common.batch import on_checked_batch
from pfml.losses.common.draws import SeededMiner


class LibraryLoss(nn.Module):
    """A library loss with its miner (if any) and its proxies in the shape (classes, per class, D) (if any).

    Args:
        proxies: `rows` or `columns` of a parameter of `loss`; a function that pickles, so no lambda.
        sizes: (number of classes, D); every batch is checked to fit them.
    """

    def __init__(
        self,
        loss: nn.Module,
        miner: nn.Module | None = None,
        proxies: Callable[[nn.Module], torch.Tensor] | None = None,
        *,
        sizes: tuple[int, int],
    ):
        super().__init__()
        self.loss, self.miner, self._proxies, self.sizes = loss, miner, proxies, sizes

    @on_checked_batch()
    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor, indices_tuple=None) -> torch.Tensor:
        """Embeddings (B, D) of any scale, labels (B,) integers -> scalar."""
        return self.energy(embeddings, labels, indices_tuple)

    def energy(self, embeddings: torch.Tensor, labels: torch.Tensor, indices_tuple) -> torch.Tensor:
        """The value of a checked batch."""
        if self.miner is not None and indices_tuple is None:
            indices_tuple = self.miner(embeddings, labels)
        return self.loss(embeddings, labels, indices_tuple)

    @property
    def proxies(self) -> torch.Tensor | None:
        return None if self._proxies is None else self._proxies(self.loss)


def rows(name: str) -> Callable[[nn.Module], torch.Tensor]:
    """Proxies that the library keeps as rows (classes, D) of its parameter `name`."""
    return partial(_rows, name=name)


def columns(name: str, shape: tuple[int, int, int]) -> Callable[[nn.Module], torch.Tensor]:
    """Proxies that the library keeps as columns (D, classes * per class) of its parameter `name`, class by class.

    Args:
        shape: (classes, per class, D).
    """
    return partial(_columns, name=name, shape=shape)


def _rows(loss: nn.Module, name: str) -> torch.Tensor:
    return getattr(loss, name)[:, None]


def _columns(loss: nn.Module, name: str, shape: tuple[int, int, int]) -> torch.Tensor:
    return getattr(loss, name).T.reshape(shape)


def with_class_weights(loss: nn.Module, num_classes: int, embedding_dim: int, per_class: int = 1) -> LibraryLoss:
    """A loss whose weights W (D, classes * per_class) are the proxies."""
    return LibraryLoss(
        loss,
        proxies=columns("W", (num_classes, per_class, embedding_dim)),
        sizes=(num_classes, embedding_dim),
    )


def length_penalty(weight: float, power: int) -> dict:
    """Arguments of a library loss for a penalty weight * mean |e|^power; without weight for none."""
    from pytorch_metric_learning.regularizers import LpRegularizer

    return {"embedding_regularizer": LpRegularizer(power=power), "embedding_reg_weight": weight} if weight else {}


def distance_weighted_margin(
    num_classes: int, embedding_dim: int, margin: float, beta: float, nu: float, cutoff: float, upper_cutoff: float,
    *, per_class: bool,
) -> LibraryLoss:  # fmt: skip
    """Wu et al., ICCV 2017: `baselines/margin.py` states it. One beta, or one of each class."""
    from pytorch_metric_learning.losses import MarginLoss

    from pfml.losses.common.library_miners import DistanceWeighted

    loss = MarginLoss(
        margin=margin, nu=nu, beta=beta, learn_beta=True, num_classes=num_classes if per_class else None
    )  # fmt: skip
    miner = SeededMiner(DistanceWeighted(cutoff=cutoff, nonzero_loss_cutoff=upper_cutoff))
    return LibraryLoss(loss, miner, sizes=(num_classes, embedding_dim))
