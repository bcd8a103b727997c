"""The settings of every loss, one strict class each; the names and meanings are the arguments of pfml.losses."""

from typing import Annotated, Literal

from pydantic import Field

from pfml.setting_types import Count, CountOrZero, NonNegative, Positive, Section

EPS = 1e-3  # distance floor of the field losses
Radius = Annotated[float, Field(gt=EPS, allow_inf_nan=False)]


class AnyFieldLoss(Section):
    """What PFML and CPML share; names and meanings are the arguments of pfml.losses.PotentialFieldLoss."""

    proxies_per_class: CountOrZero
    delta: Radius
    delta_rep: Radius | None
    reduction: Literal["sum", "pair_mean", "anchor_mean"]
    proxy_init: Literal["data", "random", "kaiming"]
    proxy_proxy: Literal["all", "repulsion", "none"]
    normalize_proxies: bool
    absent_proxies: bool


class FieldLoss(AnyFieldLoss):
    """`loss`: PFML, Eq. 1-6."""

    alpha: NonNegative
    alpha_zero: Literal["log", "linear"]


class ContrastiveFieldLoss(AnyFieldLoss):
    """CPML: `loss` without alpha, and the form of its repulsion."""

    repulsion: Literal["squared_hinge", "mirror"] = "squared_hinge"


class ProxyAnchor(Section):
    margin: NonNegative
    scale: Positive


class ProxyNCA(Section):
    scale: Positive


class SoftTriple(Section):
    centers_per_class: Count
    scale: Positive
    gamma: Positive
    margin: NonNegative


class MultiSimilarity(Section):
    alpha: Positive
    beta: Positive
    base: float
    epsilon: NonNegative


class Triplet(Section):
    margin: NonNegative
    mining: Literal["semihard", "hard", "all"]


class Contrastive(Section):
    pos_margin: NonNegative
    neg_margin: NonNegative


# Settings of every loss that a row may use; the names are those of pfml.losses.LOSSES.
LOSS_SETTINGS = {
    "pfml": FieldLoss,
    "cpml": ContrastiveFieldLoss,
    "proxy_anchor": ProxyAnchor,
    "proxy_nca": ProxyNCA,
    "soft_triple": SoftTriple,
    "multi_similarity": MultiSimilarity,
    "triplet": Triplet,
    "contrastive": Contrastive,
}
FIELDS = ("pfml", "cpml")
BASELINES = tuple(name for name in LOSS_SETTINGS if name not in FIELDS)
