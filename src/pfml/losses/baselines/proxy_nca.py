"""ProxyNCA: Movshovitz-Attias, Toshev, Leung, Ioffe and Singh, ICCV 2017, as pytorch-metric-learning implements it."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss, rows
from pfml.losses.common.ranges import Count, Positive


@baseline("ProxyNCA", acts="proxy")
def proxy_nca(num_classes: Count, embedding_dim: Count, scale: Positive = 3.0) -> LibraryLoss:
    """Movshovitz-Attias et al., ICCV 2017, softmax form: the own class stands in the denominator too."""
    from pytorch_metric_learning.losses import ProxyNCALoss

    loss = ProxyNCALoss(num_classes, embedding_dim, softmax_scale=scale)
    return LibraryLoss(loss, proxies=rows("proxies"), sizes=(num_classes, embedding_dim))
