"""Contrastive loss: Hadsell, Chopra and LeCun, CVPR 2006, as pytorch-metric-learning implements it."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss
from pfml.losses.common.ranges import Count, NonNegative


@baseline("Contrastive", acts="pair", pairs=True)
def contrastive(
    num_classes: Count, embedding_dim: Count, pos_margin: NonNegative = 0.0, neg_margin: NonNegative = 0.5
) -> LibraryLoss:
    """Hadsell et al., CVPR 2006, on all pairs of the batch, Euclidean distances of normalized embeddings."""
    from pytorch_metric_learning.losses import ContrastiveLoss

    return LibraryLoss(
        ContrastiveLoss(pos_margin=pos_margin, neg_margin=neg_margin), sizes=(num_classes, embedding_dim)
    )
