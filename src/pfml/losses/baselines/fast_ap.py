"""FastAP: Cakir, He, Xia, Kulis and Sclaroff, CVPR 2019, as pytorch-metric-learning implements it."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss
from pfml.losses.common.ranges import Count


@baseline("FastAP", acts="pair", pairs=True)
def fast_ap(num_classes: Count, embedding_dim: Count, bins: Count = 10) -> LibraryLoss:
    """Cakir et al., CVPR 2019: 1 - AP of each anchor that has a positive, AP = 1/N+ sum over bins of h+ H+ / H, from
    soft histograms h of squared distances in [0, 4] and their cumulative sums H."""
    from pytorch_metric_learning.losses import FastAPLoss

    return LibraryLoss(FastAPLoss(num_bins=bins), sizes=(num_classes, embedding_dim))
