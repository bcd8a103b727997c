"""CosFace: Wang, Wang, Zhou, Ji, Gong, Zhou, Li and Liu, CVPR 2018, as pytorch-metric-learning implements it."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss, with_class_weights
from pfml.losses.common.ranges import Count, NonNegative, Positive


@baseline("CosFace", acts="proxy")
def cosface(
    num_classes: Count, embedding_dim: Count, margin: NonNegative = 0.35, scale: Positive = 64.0
) -> LibraryLoss:
    """Wang et al., CVPR 2018: cross entropy of scale * (cos(f, w_c) - margin for the own class)."""
    from pytorch_metric_learning.losses import CosFaceLoss

    loss = CosFaceLoss(num_classes, embedding_dim, margin=margin, scale=scale)
    return with_class_weights(loss, num_classes, embedding_dim)
