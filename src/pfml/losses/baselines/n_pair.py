"""N-pair loss: Sohn, NeurIPS 2016, as pytorch-metric-learning implements it."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss, squared_length
from pfml.losses.common.ranges import Count, NonNegative


@baseline("N-Pair", acts="pair", pairs=True)
def n_pair(num_classes: Count, embedding_dim: Count, normalize: bool = False, l2: NonNegative = 0.005) -> LibraryLoss:
    """Sohn, NeurIPS 2016, N-pair-mc: one pair (f_i, f_i+) of each class, mean of
    log(1 + sum over j != i of exp(f_i.f_j+ - f_i.f_i+)), plus l2 * mean |f|^2 over the batch."""
    from pytorch_metric_learning.distances import DotProductSimilarity
    from pytorch_metric_learning.losses import NPairsLoss

    loss = NPairsLoss(distance=DotProductSimilarity(normalize_embeddings=normalize), **squared_length(l2))
    return LibraryLoss(loss, sizes=(num_classes, embedding_dim))
