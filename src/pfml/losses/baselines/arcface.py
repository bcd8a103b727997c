"""ArcFace: Deng, Guo, Xue and Zafeiriou, CVPR 2019, as pytorch-metric-learning implements it."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss, with_class_weights
from pfml.losses.common.ranges import Count, NonNegative, Positive


@baseline("ArcFace", acts="proxy")
def arcface(
    num_classes: Count, embedding_dim: Count, margin: NonNegative = 28.6, scale: Positive = 64.0
) -> LibraryLoss:
    """Deng et al., CVPR 2019: cross entropy of scale * cos(angle(f, w_c) + margin for the own class), margin in degrees
    (28.6: the paper's 0.5 rad); beyond 180 degrees - margin linear instead: cos(angle) - margin * sin(margin)."""
    from pytorch_metric_learning.losses import ArcFaceLoss

    from pfml.losses.common.library_distances import ClampedCosine

    loss = ArcFaceLoss(num_classes, embedding_dim, margin=margin, scale=scale, distance=ClampedCosine())
    return with_class_weights(loss, num_classes, embedding_dim)
