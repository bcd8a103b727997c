"""N-pair loss: Sohn, NeurIPS 2016, as pytorch-metric-learning implements it."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss, length_penalty
from pfml.losses.common.ranges import Count, NonNegative


@baseline("N-Pair", acts="pair", pairs=True)
def n_pair(num_classes: Count, embedding_dim: Count, normalize: bool = False, l2: NonNegative = 0.01) -> LibraryLoss:
    """Sohn, NeurIPS 2016, N-pair-mc: one pair (f_i, f_i+) of each class, mean of
    log(1 + sum over j != i of exp(f_i.f_j+ - f_i.f_i+)), plus l2 * mean |f|^2 over the batch. The
    weight 0.02 of the original code is l2 = 0.01: TensorFlow's npairs_loss adds a quarter of it times two means, one
    over f and one over f+."""
    from pytorch_metric_learning.distances import DotProductSimilarity
    from pytorch_metric_learning.losses import NPairsLoss

    loss = NPairsLoss(distance=DotProductSimilarity(normalize_embeddings=normalize), **length_penalty(l2, power=2))
    return LibraryLoss(loss, sizes=(num_classes, embedding_dim))
