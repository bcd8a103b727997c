"""Multi-Similarity without its miner: Wang et al., CVPR 2019, a row of its own in "A Metric Learning Reality Check"."""

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss
from pfml.losses.common.ranges import Count, Positive


@baseline("Multi-Similarity without miner", acts="pair", pairs=True)
def multi_similarity_unmined(
    num_classes: Count, embedding_dim: Count, alpha: Positive = 2.0, beta: Positive = 50.0, base: float = 0.5
) -> LibraryLoss:
    """As `multi_similarity`, on all pairs of the batch."""
    from pytorch_metric_learning.losses import MultiSimilarityLoss

    return LibraryLoss(
        MultiSimilarityLoss(alpha=alpha, beta=beta, base=base), sizes=(num_classes, embedding_dim)
    )  # fmt: skip
