"""Multi-Similarity: Wang, Han, Huang, Dong and Scott, CVPR 2019, as pytorch-metric-learning implements it."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss
from pfml.losses.common.ranges import Count, NonNegative, Positive


@baseline("Multi-Similarity", acts="pair", pairs=True)
def multi_similarity(
    num_classes: Count, embedding_dim: Count, alpha: Positive = 2.0, beta: Positive = 50.0, base: float = 0.5,
    epsilon: NonNegative = 0.1,
) -> LibraryLoss:  # fmt: skip
    """Wang et al., CVPR 2019, with its pair miner of margin `epsilon`."""
    from pytorch_metric_learning.losses import MultiSimilarityLoss
    from pytorch_metric_learning.miners import MultiSimilarityMiner

    loss, miner = MultiSimilarityLoss(alpha=alpha, beta=beta, base=base), MultiSimilarityMiner(epsilon=epsilon)
    return LibraryLoss(loss, miner, sizes=(num_classes, embedding_dim))
