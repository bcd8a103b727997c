"""Margin loss with a boundary for each class: Wu et al., ICCV 2017, as pytorch-metric-learning implements it."""

from typing import Annotated

from pfml.losses.common.describe import baseline
from pfml.losses.common.library import LibraryLoss, distance_weighted_margin
from pfml.losses.common.ranges import Count, NonNegative, Positive, Range


@baseline("Margin per class", acts="pair", pairs=True, version=2)
def margin_per_class(
    num_classes: Count, embedding_dim: Count, margin: NonNegative = 0.2, beta: Positive = 1.2, nu: NonNegative = 0.0,
    cutoff: Positive = 0.5, upper_cutoff: Annotated[float, Range(above="cutoff")] = 1.4,
) -> LibraryLoss:  # fmt: skip
    """As `margin`, with a learnable beta of the anchor's class."""
    return distance_weighted_margin(
        num_classes, embedding_dim, margin, beta, nu, cutoff, upper_cutoff, per_class=True
    )  # fmt: skip
