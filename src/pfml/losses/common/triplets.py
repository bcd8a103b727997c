"""Triplets drawn at random, and the margin loss on them, for methods with several of them (DiVA, DCML).

Shapes: B images, T triplets. Embeddings are of unit length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pfml.losses.common.relative_rate import learn_at

Triplets = tuple[Tensor, Tensor, Tensor]  # indices (T,) of anchors, positives, negatives


def log_inverse_density(distances: Tensor, dim: int) -> Tensor:
    """Minus the logarithm of the density of distances between random points of the sphere in `dim` dimensions, up to a
    constant (Wu et al., ICCV 2017, Eq. 3): (2 - D) log d - (D - 3) / 2 log(1 - d^2 / 4).
    """
    within = (1 - 0.25 * distances.square()).clamp_min(1e-8)  # opposite points
    return (2.0 - dim) * distances.log() - 0.5 * (dim - 3) * within.log()


@torch.no_grad()
def distance_weighted(units: Tensor, labels: Tensor, generator: torch.Generator, cutoff: float = 0.5) -> Triplets:
    """One triplet for each image that has another one of its class and one of another class in the batch.

    The positive is drawn uniformly, the negative by the inverse density of distances. Distances below `cutoff` count as
    at it. The largest log weight of the anchor's own row is taken off before the exponential, so that in many
    dimensions no row underflows.
    """
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    anchors = (positive.any(1) & ~same.all(1)).nonzero()[:, 0]
    if not len(anchors):
        return anchors, anchors, anchors
    distances = (2 - 2 * units @ units.T).clamp_min(cutoff**2).sqrt()
    weights = log_inverse_density(distances, units.shape[1]).masked_fill(same, -torch.inf)[anchors].softmax(1)
    positives = torch.multinomial(positive[anchors].to(units.dtype), 1, generator=generator)[:, 0]
    return anchors, positives, torch.multinomial(weights, 1, generator=generator)[:, 0]


@torch.no_grad()
def within_classes(labels: Tensor, generator: torch.Generator) -> Triplets:
    """B triplets of one class each: the class drawn from those in the batch, then its images, all with replacement, so
    that one image can be anchor, positive and negative.
    """
    classes = labels.unique()
    drawn = torch.randint(len(classes), (len(labels),), generator=generator, device=labels.device)
    members = (classes[drawn][:, None] == labels).float()
    return torch.multinomial(members, 3, replacement=True, generator=generator).unbind(1)


class Boundaries(nn.Module):
    """Learned boundaries beta (losses, N) between near and far, one of each class for each of several margin losses.

    Args:
        rate: their learning rate as a multiple of proxy_lr.
    """

    def __init__(self, losses: int, num_classes: int, beta: float, rate: float):
        super().__init__()
        self.beta = nn.Parameter(torch.full((losses, num_classes), float(beta)))
        learn_at(self, rate, "boundary_rate")


def margin_energy(units: Tensor, triplets: Triplets, boundaries: Tensor, margin: float = 0.2) -> Tensor:
    """Sum of [d(a, p) - beta + margin]+ and [beta - d(a, n) + margin]+ over the triplets, divided by the number of
    these terms that are above 0 (Wu et al., ICCV 2017); 0 without any.

    Args:
        units: (B, D).
        boundaries: (B,) beta of each image as an anchor.
    """
    anchors, positives, negatives = triplets
    beta = boundaries[anchors]
    near, far = (((units[anchors] - units[others]).square().sum(1) + 1e-8).sqrt() for others in (positives, negatives))
    terms = torch.cat([near - beta + margin, beta - far + margin]).relu()
    return terms.sum() / (terms > 0).sum().clamp_min(1)
