"""SNR: Yuan, Deng, Tang, Tang and Chen, CVPR 2019, contrastive form, as pytorch-metric-learning implements it."""

from functools import cache
from typing import Annotated

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss
from pfml.losses.common.ranges import Count, NonNegative, Range


@cache
def _safe_snr() -> type:
    """SNR distances var(a - b) / var(a) with a floor of 1e-8 under the divisor, which is 0 for a constant vector."""
    from pytorch_metric_learning.distances import SNRDistance

    class SafeSNR(SNRDistance):
        def compute_mat(self, query_emb, ref_emb):
            noise = (query_emb.unsqueeze(1) - ref_emb).var(dim=2)
            return noise / query_emb.var(dim=1).clamp_min(1e-8).unsqueeze(1)

    return SafeSNR


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

    penalty = {"embedding_regularizer": ZeroMeanRegularizer(), "embedding_reg_weight": zero_mean} if zero_mean else {}
    loss = SignalToNoiseRatioContrastiveLoss(
        pos_margin=pos_margin, neg_margin=neg_margin, distance=_safe_snr()(), **penalty
    )
    return LibraryLoss(loss, sizes=(num_classes, embedding_dim))
