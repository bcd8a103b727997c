"""Triplet loss: Schroff, Kalenichenko and Philbin, CVPR 2015, as pytorch-metric-learning implements it."""

from typing import Literal

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss
from pfml.losses.common.ranges import Count, NonNegative


@baseline("Triplet", acts="pair", pairs=True)
def triplet(
    num_classes: Count, embedding_dim: Count, margin: NonNegative = 0.2,
    mining: Literal["semihard", "hard", "all", "tensorflow"] = "semihard",
) -> LibraryLoss:  # fmt: skip
    """Schroff et al., CVPR 2015: mean of [d_ap - d_an + margin]+ over triplets of a batch.

    mining says over which. semihard: all with d_ap < d_an <= d_ap + margin; hard: all with d_an <= d_ap; all: all with
    a positive loss; the mean is over those with a positive loss. tensorflow: triplet_semihard_loss of TensorFlow 1,
    which papers after it call SemiHard: one negative for each positive pair, the nearest beyond the positive, else the
    farthest of all; squared distances; the mean is over all positive pairs. Its margin is 1.
    """
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import TripletMarginMiner

    if mining == "tensorflow":
        from pytorch_metric_learning.distances import LpDistance
        from pytorch_metric_learning.reducers import MeanReducer

        from pfml.losses.common.library_miners import NearestBeyond

        loss = TripletMarginLoss(margin=margin, distance=LpDistance(power=2), reducer=MeanReducer())
        return LibraryLoss(loss, NearestBeyond(), sizes=(num_classes, embedding_dim))
    miner = TripletMarginMiner(margin=margin, type_of_triplets=mining)
    return LibraryLoss(TripletMarginLoss(margin=margin), miner, sizes=(num_classes, embedding_dim))
