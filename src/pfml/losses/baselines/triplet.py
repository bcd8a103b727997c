"""Triplet loss: Schroff, Kalenichenko and Philbin, CVPR 2015, as pytorch-metric-learning implements it."""

from typing import Literal

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss
from pfml.losses.common.ranges import Count, NonNegative


@baseline("Triplet", acts="pair", pairs=True)
def triplet(
    num_classes: Count, embedding_dim: Count, margin: NonNegative = 0.2,
    mining: Literal["semihard", "hard", "all"] = "semihard",
) -> LibraryLoss:  # fmt: skip
    """Schroff et al., CVPR 2015: mean over the mined triplets (semihard, hard, all) that have a positive loss."""
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import TripletMarginMiner

    miner = TripletMarginMiner(margin=margin, type_of_triplets=mining)
    return LibraryLoss(TripletMarginLoss(margin=margin), miner, sizes=(num_classes, embedding_dim))
