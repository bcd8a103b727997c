"""Proxy Anchor: Kim, Kim, Cho and Kwak, CVPR 2020, as pytorch-metric-learning implements it."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss, rows
from pfml.losses.common.ranges import Count, NonNegative, Positive


@baseline("Proxy Anchor", acts="proxy")
def proxy_anchor(
    num_classes: Count, embedding_dim: Count, margin: NonNegative = 0.1, scale: Positive = 32.0
) -> LibraryLoss:
    """Kim et al., CVPR 2020; `scale` is the paper's alpha."""
    from pytorch_metric_learning.losses import ProxyAnchorLoss

    loss = ProxyAnchorLoss(num_classes, embedding_dim, margin=margin, alpha=scale)
    return LibraryLoss(loss, proxies=rows("proxies"), sizes=(num_classes, embedding_dim))
