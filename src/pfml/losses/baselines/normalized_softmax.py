"""Normalized softmax: Zhai and Wu, BMVC 2019, as pytorch-metric-learning implements it."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss, with_class_weights
from pfml.losses.common.ranges import Count, Positive


@baseline("N.Softmax", acts="proxy")
def normalized_softmax(num_classes: Count, embedding_dim: Count, temperature: Positive = 0.05) -> LibraryLoss:
    """Zhai and Wu, BMVC 2019: cross entropy of cos(f, w_c) / temperature."""
    from pytorch_metric_learning.losses import NormalizedSoftmaxLoss

    loss = NormalizedSoftmaxLoss(num_classes, embedding_dim, temperature=temperature)
    return with_class_weights(loss, num_classes, embedding_dim)
