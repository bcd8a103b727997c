"""Circle loss: Sun, Cheng, Zhang, Zhang, Zheng, Wang and Wei, CVPR 2020, as pytorch-metric-learning implements it."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss
from pfml.losses.common.ranges import Count, NonNegative, Positive


@baseline("Circle", acts="pair", pairs=True)
def circle(num_classes: Count, embedding_dim: Count, margin: NonNegative = 0.4, scale: Positive = 80.0) -> LibraryLoss:
    """Sun et al., CVPR 2020, on pairs: mean over anchors of softplus(logsumexp of scale a_n (s_n - margin) +
    logsumexp of -scale a_p (s_p - 1 + margin)), a_n = [s_n + margin]+ and a_p = [1 + margin - s_p]+ without
    gradient."""
    from pytorch_metric_learning.losses import CircleLoss

    return LibraryLoss(CircleLoss(m=margin, gamma=scale), sizes=(num_classes, embedding_dim))
