"""PFML: the potential field loss of Bhatnagar and Ahuja, CVPR 2025, arXiv 2405.18560, Eqs. 1-6.

Every embedding of the batch and every proxy is a charge on the unit sphere. With d = |r - z|, in excess form
(without the constants that keep the energy of a force-free configuration from being 0; no force changes):

    attraction, same class   (1)   delta^-alpha - max(d, delta)^-alpha
    repulsion, other class   (2)   min(d, delta_rep)^-alpha - delta_rep^-alpha
    class field              (3-5) Psi_j(r) = sum of (1) over class j + sum of (2) over all other classes
    total energy             (6)   U = sum_i Psi_{y_i}(z_i) + sum_j sum_k Psi_j(p_{j,k})

so U is the sum over all ordered pairs of distinct points of (batch embeddings, all N*M proxies). What the
paper leaves open is a switch here; docs/differences.md lists them with the evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pfml.losses.common.checks import check_radii
from pfml.losses.common.describe import field
from pfml.losses.common.distributed import Gather
from pfml.losses.common.ranges import Count, CountOrZero, NonNegative, Positive
from pfml.losses.field.field_loss import FieldLoss, ProxyProxy, Reduction
from pfml.losses.field.proxies import ProxyInit

AlphaZero = Literal["log", "linear"]


@dataclass(frozen=True)
class PowerLaw:
    """Eqs. 1 and 2 as functions of d^2.

    At alpha = 0, where they are constant, `log` puts the limit of (d^-alpha - 1) / alpha in their place
    (force 1/d), `linear` puts -d (force 1).
    """

    alpha: float
    delta: float
    delta_rep: float
    eps: float
    alpha_zero: str = "log"

    @property
    def form(self) -> str:
        return "power" if self.alpha else self.alpha_zero

    def attraction(self, d2: Tensor, energy: Tensor, slope: Tensor) -> None:
        self._height(d2, self.delta, -1, energy, slope)

    def repulsion(self, d2: Tensor, energy: Tensor, slope: Tensor) -> None:
        self._height(d2, self.delta_rep, 1, energy, slope)

    def _height(self, d2: Tensor, radius: float, sign: int, energy: Tensor, slope: Tensor) -> None:
        """energy = sign (d^-alpha - radius^-alpha), slope = its derivative with respect to d^2."""
        if self.alpha == 0 and self.alpha_zero == "log":
            torch.log(d2, out=energy).mul_(0.5).sub_(math.log(radius)).mul_(-sign)
            torch.reciprocal(d2, out=slope).mul_(-sign / 2)
        elif self.alpha == 0:
            torch.rsqrt(d2, out=slope).mul_(-sign / 2)
            torch.sqrt(d2, out=energy).sub_(radius).mul_(-sign)
        else:
            inverse_powers(d2, self.alpha, energy, slope)
            slope.mul_(energy).mul_(-sign * self.alpha / 2)
            energy.sub_(radius**-self.alpha)
            if sign < 0:
                energy.neg_()


def inverse_powers(d2: Tensor, alpha: float, power: Tensor, inverse: Tensor) -> None:
    """power = d^-alpha, inverse = d^-2; by multiplications where 2 * alpha is a small integer, else pow."""
    halves = 2 * alpha
    if halves != int(halves) or not 0 < halves <= 24:
        torch.pow(d2, -alpha / 2, out=power)
        torch.reciprocal(d2, out=inverse)
        return
    whole, half = divmod(int(halves), 2)  # d^-alpha = (1/d)^whole * (1/d)^(half/2)
    squares, single = divmod(whole, 2)  # (1/d)^whole = (1/d^2)^squares * (1/d)^single
    torch.rsqrt(d2, out=inverse)
    if half:
        torch.sqrt(inverse, out=power)
        if single:
            power.mul_(inverse)
    elif single:
        power.copy_(inverse)
    else:
        power.fill_(1)
    inverse.square_()
    for _ in range(squares):
        power.mul_(inverse)


@field("PFML")
class PotentialFieldLoss(FieldLoss):
    """PFML: `loss(embeddings, labels)` is the energy of Eq. 6.

    num_classes, embedding_dim, proxies_per_class: N, D and M; `loss.proxies` is a parameter (N, M, D).
    alpha: decay exponent.
    delta: radius inside which attraction ends.
    delta_rep: radius beyond which repulsion ends; delta unless given, as in the paper. Which radius fits depends on how
        far apart the embeddings start (docs/findings.md): `radius_at_start(embeddings, labels)` suggests one.
    proxy_init: `random` directions of length about sqrt(D), `kaiming` (fan_out, as in Proxy Anchor), or
        `data`: call `initialize_proxies` before the first step.
    reduction: `sum` (Eq. 6), `pair_mean` (over the ordered pairs) or `anchor_mean` (over the points).
    proxy_proxy: which terms between proxies act: `all` (Eq. 6), `repulsion` or `none`.
    normalize_proxies: proxies are directions, or else free points of R^D.
    absent_proxies: proxies of classes that the batch lacks act too (Eq. 6).
    alpha_zero: what alpha = 0, where Eqs. 1 and 2 are constant, stands for: `log` or `linear`.
    eps: distance below which repulsion is constant; the literal potential has no bound.
    gather: with torch.distributed, which gradient the embeddings get of the energy of all ranks' batches: `ddp` where
        the network's gradients are averaged over ranks, as DistributedDataParallel does (times the number of
        ranks), `sum` where they are added; or `off`, each rank's own batch alone.
    shard_proxies: with torch.distributed, each rank holds the proxies of the classes of its `class_range` alone.
    """

    def __init__(
        self,
        num_classes: Count,
        embedding_dim: Count,
        proxies_per_class: CountOrZero = 15,
        alpha: NonNegative = 3.0,
        delta: Positive = 0.2,
        delta_rep: Positive | None = None,
        proxy_init: ProxyInit = "random",
        *,
        reduction: Reduction = "sum",
        proxy_proxy: ProxyProxy = "all",
        normalize_proxies: bool = True,
        absent_proxies: bool = True,
        alpha_zero: AlphaZero = "log",
        eps: Positive = 1e-3,
        gather: Gather = "ddp",
        shard_proxies: bool = False,
    ):
        delta_rep = check_radii(delta, delta_rep, eps)
        law = PowerLaw(float(alpha), float(delta), delta_rep, float(eps), alpha_zero)
        super().__init__(
            num_classes,
            embedding_dim,
            proxies_per_class,
            law,
            proxy_init=proxy_init,
            reduction=reduction,
            proxy_proxy=proxy_proxy,
            normalize_proxies=normalize_proxies,
            absent_proxies=absent_proxies,
            gather=gather,
            shard_proxies=shard_proxies,
        )
