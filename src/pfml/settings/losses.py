"""The settings of every loss, one strict class each; the names and meanings are the arguments of pfml.losses."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pfml.settings.values import Count, CountOrZero, Fraction, NonNegative, Positive, Section

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
    tau: NonNegative


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


class NPair(Section):
    normalize: bool
    l2: NonNegative


class Margin(Section):
    margin: NonNegative
    beta: Positive
    nu: NonNegative
    cutoff: Positive
    upper_cutoff: Positive

    @model_validator(mode="after")
    def _in_order(self):
        if not self.cutoff < self.upper_cutoff:
            raise ValueError(f"upper_cutoff: expected more than cutoff {self.cutoff}, found {self.upper_cutoff}")
        return self


class NormalisedSoftmax(Section):
    temperature: Positive


class AngularMargin(Section):
    """CosFace and ArcFace; the margin of the one is a cosine, of the other degrees."""

    margin: NonNegative
    scale: Positive


class SubCenterArcFace(AngularMargin):
    centers_per_class: Count


class FastAP(Section):
    bins: Count


class SNR(Section):
    pos_margin: NonNegative
    neg_margin: NonNegative
    zero_mean: NonNegative


class Circle(Section):
    margin: NonNegative
    scale: Positive


class LiftedStructure(Section):
    margin: NonNegative
    normalize: bool
    l2: NonNegative


class Histogram(Section):
    bins: Count


class ProxyNCAPlusPlus(Section):
    temperature: Positive


class HIST(Section):
    tau: Positive
    alpha: Positive
    hidden: Count
    lambda_s: NonNegative
    hgnn_rate: Positive


class Hyp(Section):
    c: Positive
    temperature: Positive
    clip: Positive


class EasyPositive(Section):
    temperature: Positive
    mining: Literal["semihard", "hard"]


class HIER(Section):
    hierarchy: Annotated[int, Field(ge=2)]
    tau: Positive
    margin: NonNegative
    topk: Count
    triplets: Count
    c: Positive
    clip: Positive
    lambda1: NonNegative
    lambda2: NonNegative
    anchor_margin: NonNegative
    anchor_scale: Positive
    hierarchy_rate: Positive


class Prism(Section):
    noise_rate: Fraction
    memory: Count
    window: Count
    margin: NonNegative
    weight: NonNegative
    warmup: CountOrZero


class MultiSimilarityDAS(MultiSimilarity):
    produced: CountOrZero
    scaled: CountOrZero
    scale_low: Positive
    scale_high: Positive
    bank: Count
    shift_scale: NonNegative
    detach: bool


class ProxyGML(Section):
    proxies_per_class: Count
    ratio: Annotated[float, Field(gt=0, le=1)]
    weight: NonNegative


class Clustering(Section):
    gamma: NonNegative
    rounds: CountOrZero


class NonIsotropic(Section):
    weight: NonNegative
    margin: NonNegative
    scale: Positive
    blocks: CountOrZero
    depth: Annotated[int, Field(ge=2)]
    width: Count
    clamp: Positive
    flow_rate: Positive


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
    "n_pair": NPair,
    "margin": Margin,
    "margin_per_class": Margin,
    "normalised_softmax": NormalisedSoftmax,
    "cosface": AngularMargin,
    "arcface": AngularMargin,
    "sub_center_arcface": SubCenterArcFace,
    "fast_ap": FastAP,
    "snr": SNR,
    "circle": Circle,
    "lifted_structure": LiftedStructure,
    "histogram": Histogram,
    "proxy_nca_pp": ProxyNCAPlusPlus,
    "hist": HIST,
    "hyp": Hyp,
    "esphn": EasyPositive,
    "hier": HIER,
    "prism": Prism,
    "ms_das": MultiSimilarityDAS,
    "proxy_gml": ProxyGML,
    "clustering": Clustering,
    "pa_niv": NonIsotropic,
}
FIELDS = ("pfml", "cpml")
BASELINES = tuple(name for name in LOSS_SETTINGS if name not in FIELDS)
