"""Margin loss: Wu, Manmatha, Smola and Krähenbühl, ICCV 2017, as pytorch-metric-learning implements it."""

from typing import Annotated

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss, distance_weighted_margin
from pfml.losses.common.ranges import Count, NonNegative, Positive, Range


@baseline("Margin", acts="pair", pairs=True, version=2)
def margin(
    num_classes: Count, embedding_dim: Count, margin: NonNegative = 0.2, beta: Positive = 1.2, nu: NonNegative = 0.0,
    cutoff: Positive = 0.5, upper_cutoff: Annotated[float, Range(above="cutoff")] = 1.4,
) -> LibraryLoss:  # fmt: skip
    """Wu et al., ICCV 2017, with distance-weighted sampling and one learnable boundary beta:
    (sum of [margin + d_ap - beta]+ + [margin + beta - d_an]+) / number of positive ones, plus nu * beta.

    A triplet's negative is drawn with weight 1 / q(d), q the density of distances on the sphere: those below `cutoff`
    count as at it, those above `upper_cutoff` are not drawn. Every anchor that has a negative below `upper_cutoff`
    draws as many as its class has images in the batch, in any number of dimensions.
    """
    return distance_weighted_margin(
        num_classes, embedding_dim, margin, beta, nu, cutoff, upper_cutoff, per_class=False
    )  # fmt: skip
