"""Sub-centre ArcFace: Deng, Guo, Liu, Gong and Zafeiriou, ECCV 2020, as pytorch-metric-learning implements it."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss, with_class_weights
from pfml.losses.common.ranges import Count, NonNegative, Positive


@baseline("Sub-centre ArcFace", acts="proxy")
def sub_center_arcface(
    num_classes: Count, embedding_dim: Count, margin: NonNegative = 28.6, scale: Positive = 64.0,
    centers_per_class: Count = 3,
) -> LibraryLoss:  # fmt: skip
    """Deng et al., ECCV 2020: ArcFace with the largest cosine of a class's centres as that of the class."""
    from pytorch_metric_learning.losses import SubCenterArcFaceLoss

    from pfml.losses.common.library_distances import ClampedCosine

    loss = SubCenterArcFaceLoss(
        num_classes=num_classes, embedding_size=embedding_dim, margin=margin, scale=scale,
        sub_centers=centers_per_class, distance=ClampedCosine(),
    )  # fmt: skip
    return with_class_weights(loss, num_classes, embedding_dim, centers_per_class)
