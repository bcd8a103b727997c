"""Lifted structure: Song, Xiang, Jegelka and Savarese, CVPR 2016, as pytorch-metric-learning implements it."""

import torch

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss, length_penalty
from pfml.losses.common.ranges import Count, NonNegative


class EachPairOnce(torch.nn.Module):
    """In place of a miner: all negative pairs, and of the two orders of a positive pair (of equal loss) one."""

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices

        anchors, positives, *negative = get_all_pairs_indices(labels)
        once = anchors < positives
        return anchors[once], positives[once], *negative


@baseline("Lifted Structure", acts="pair", pairs=True, version=2)
def lifted_structure(
    num_classes: Count, embedding_dim: Count, margin: NonNegative = 1.0, normalize: bool = False,
    l2: NonNegative = 0.005,
) -> LibraryLoss:  # fmt: skip
    """Song et al., CVPR 2016: mean over positive pairs of [J]+^2 / 2, J_ij = d_ij + logsumexp of margin - d over
    all negative pairs of i and of j; plus l2 * mean |f|, the penalty of Roth et al. (ICML 2020), which the original
    lacks."""
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import LiftedStructureLoss

    loss = LiftedStructureLoss(
        neg_margin=margin,
        pos_margin=0,
        distance=LpDistance(normalize_embeddings=normalize),
        **length_penalty(l2, power=1),
    )
    return LibraryLoss(loss, EachPairOnce(), sizes=(num_classes, embedding_dim))
