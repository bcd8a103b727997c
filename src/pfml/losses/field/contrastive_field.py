"""CPML: the paper's comparison field, whose strength grows with distance instead of decaying.

It keeps everything of PFML (proxies, radii, the sum of Eq. 6) but the pair law. In excess form

    attraction, same class   (8)  max(d, delta)^2 - delta^2
    repulsion, other class        `squared_hinge`: (delta_rep - d)^2 for d < delta_rep, else 0; or
                                  `mirror`: delta_rep^2 - min(d, delta_rep)^2, Eq. 2 with -d^2 for d^-alpha

The paper does not print the repulsion; docs/differences.md says why the hinge is the default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pfml.losses.common.checks import check_radii
from pfml.losses.common.describe import field
from pfml.losses.common.distributed import Gather
from pfml.losses.common.ranges import Count, CountOrZero, Positive
from pfml.losses.field.field_loss import FieldLoss, ProxyProxy, Reduction
from pfml.losses.field.proxies import ProxyInit

Repulsion = Literal["squared_hinge", "mirror"]


@dataclass(frozen=True)
class QuadraticLaw:
    """Eq. 8 and a repulsion to match, as functions of d^2."""

    delta: float
    delta_rep: float
    eps: float
    form: str = "squared_hinge"

    def attraction(self, d2: Tensor, energy: Tensor, slope: Tensor) -> None:
        torch.sub(d2, self.delta**2, out=energy)
        slope.fill_(1)

    def repulsion(self, d2: Tensor, energy: Tensor, slope: Tensor) -> None:
        if self.form == "mirror":
            torch.neg(d2, out=energy).add_(self.delta_rep**2)
            slope.fill_(-1)
        else:
            torch.sqrt(d2, out=energy).sub_(self.delta_rep).square_()
            torch.rsqrt(d2, out=slope).mul_(-self.delta_rep).add_(1)


@field("CPML")
class ContrastiveFieldLoss(FieldLoss):
    """CPML. Arguments as in PotentialFieldLoss, without alpha; `repulsion`: `squared_hinge` or `mirror`."""

    def __init__(
        self,
        num_classes: Count,
        embedding_dim: Count,
        proxies_per_class: CountOrZero = 15,
        delta: Positive = 0.2,
        delta_rep: Positive | None = None,
        proxy_init: ProxyInit = "random",
        *,
        reduction: Reduction = "sum",
        proxy_proxy: ProxyProxy = "all",
        normalize_proxies: bool = True,
        absent_proxies: bool = True,
        repulsion: Repulsion = "squared_hinge",
        eps: Positive = 1e-3,
        gather: Gather = "ddp",
        shard_proxies: bool = False,
    ):
        delta_rep = check_radii(delta, delta_rep, eps)
        law = QuadraticLaw(float(delta), delta_rep, float(eps), repulsion)
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
