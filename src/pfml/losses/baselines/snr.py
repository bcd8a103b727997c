"""SNR: Yuan, Deng, Tang, Tang and Chen, CVPR 2019, contrastive form, as pytorch-metric-learning implements it."""

from typing import Annotated

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss
from pfml.losses.common.ranges import Count, NonNegative, Range


@baseline("SNR", acts="pair", pairs=True)
def snr(
    num_classes: Count, embedding_dim: Annotated[int, Range(at_least=2)], pos_margin: NonNegative = 0.0,
    neg_margin: NonNegative = 1.0, zero_mean: NonNegative = 0.005,
) -> LibraryLoss:  # fmt: skip
    """Yuan et al., CVPR 2019, contrastive form: mean of [d - pos_margin]+ over positive pairs plus mean of
    [neg_margin - d]+ over negative ones, where not zero, d_ab = var(a - b) / var(a) over the components of normalized
    embeddings; plus zero_mean * mean |sum of an embedding's components|."""
    from pytorch_metric_learning.losses import SignalToNoiseRatioContrastiveLoss
    from pytorch_metric_learning.regularizers import ZeroMeanRegularizer

    from pfml.losses.common.library_distances import SafeSNR

    penalty = {"embedding_regularizer": ZeroMeanRegularizer(), "embedding_reg_weight": zero_mean} if zero_mean else {}
    loss = SignalToNoiseRatioContrastiveLoss(
        pos_margin=pos_margin, neg_margin=neg_margin, distance=SafeSNR(), **penalty
    )
    return LibraryLoss(loss, sizes=(num_classes, embedding_dim))
