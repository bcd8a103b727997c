"""More losses of pytorch-metric-learning, each a builder with the settings of its paper; LIBRARY lists them.

docs/baselines.md says where the library departs from a paper. It is imported where a loss is built, not before.
"""

from __future__ import annotations

from functools import cache

import torch

from pfml.losses.baselines.six import LibraryLoss
from pfml.losses.common.checks import check_count, check_number
from pfml.losses.common.draws import SeededMiner


@cache
def _clamped_cosine() -> type:
    """Cosines below 1 by more than rounding: at 1 the arc cosine has no slope."""
    from pytorch_metric_learning.distances import CosineSimilarity

    class ClampedCosine(CosineSimilarity):
        def compute_mat(self, query_emb, ref_emb):
            return super().compute_mat(query_emb, ref_emb).clamp(-1 + 1e-6, 1 - 1e-6)

    return ClampedCosine


@cache
def _safe_snr() -> type:
    """SNR distances var(a - b) / var(a) with a floor of 1e-8 under the divisor, which is 0 for a constant vector."""
    from pytorch_metric_learning.distances import SNRDistance

    class SafeSNR(SNRDistance):
        def compute_mat(self, query_emb, ref_emb):
            noise = (query_emb.unsqueeze(1) - ref_emb).var(dim=2)
            return noise / query_emb.var(dim=1).clamp_min(1e-8).unsqueeze(1)

    return SafeSNR


def _squared_length(weight: float) -> dict:
    """Arguments of a library loss for a penalty weight * mean |e|^2; without weight for none."""
    from pytorch_metric_learning.regularizers import LpRegularizer

    check_number("l2", weight, at_least=0)
    return {"embedding_regularizer": LpRegularizer(power=2), "embedding_reg_weight": weight} if weight else {}


def n_pair(num_classes: int, embedding_dim: int, normalize: bool = False, l2: float = 0.005) -> LibraryLoss:
    """Sohn, NeurIPS 2016, N-pair-mc: one pair (f_i, f_i+) of each class, mean of
    log(1 + sum over j != i of exp(f_i.f_j+ - f_i.f_i+)), plus l2 * mean |f|^2 over the batch."""
    from pytorch_metric_learning.distances import DotProductSimilarity
    from pytorch_metric_learning.losses import NPairsLoss

    loss = NPairsLoss(distance=DotProductSimilarity(normalize_embeddings=normalize), **_squared_length(l2))
    return LibraryLoss(loss, sizes=(num_classes, embedding_dim))


def margin(
    num_classes: int, embedding_dim: int, margin: float = 0.2, beta: float = 1.2, nu: float = 0.0, cutoff: float = 0.5,
    upper_cutoff: float = 1.4,
) -> LibraryLoss:  # fmt: skip
    """Wu et al., ICCV 2017, with distance-weighted sampling and one learnable boundary beta:
    (sum of [margin + d_ap - beta]+ + [margin + beta - d_an]+) / number of positive ones, plus nu * beta.

    A triplet's negative is drawn with weight 1 / q(d), q the density of distances on the sphere: those below `cutoff`
    count as at it, those above `upper_cutoff` are not drawn.
    """
    return _margin(num_classes, embedding_dim, margin, beta, nu, cutoff, upper_cutoff, per_class=False)


def margin_per_class(
    num_classes: int, embedding_dim: int, margin: float = 0.2, beta: float = 1.2, nu: float = 0.0, cutoff: float = 0.5,
    upper_cutoff: float = 1.4,
) -> LibraryLoss:  # fmt: skip
    """As `margin`, with a learnable beta of the anchor's class."""
    return _margin(num_classes, embedding_dim, margin, beta, nu, cutoff, upper_cutoff, per_class=True)


def _margin(num_classes, embedding_dim, margin, beta, nu, cutoff, upper_cutoff, per_class) -> LibraryLoss:
    from pytorch_metric_learning.losses import MarginLoss
    from pytorch_metric_learning.miners import DistanceWeightedMiner

    for name, value in (("margin", margin), ("nu", nu)):
        check_number(name, value, at_least=0)
    for name, value in (("beta", beta), ("cutoff", cutoff)):
        check_number(name, value, above=0)
    check_number("upper_cutoff", upper_cutoff, above=cutoff)
    loss = MarginLoss(
        margin=margin, nu=nu, beta=beta, learn_beta=True, num_classes=num_classes if per_class else None
    )  # fmt: skip
    miner = SeededMiner(DistanceWeightedMiner(cutoff=cutoff, nonzero_loss_cutoff=upper_cutoff))
    return LibraryLoss(loss, miner, sizes=(num_classes, embedding_dim))


def _class_weights(loss: torch.nn.Module, num_classes: int, embedding_dim: int, per_class: int = 1) -> LibraryLoss:
    """A loss whose weights W (D, classes * per_class) are the proxies."""
    return LibraryLoss(
        loss,
        proxies=lambda loss: loss.W.T.reshape(num_classes, per_class, embedding_dim),
        sizes=(num_classes, embedding_dim),
    )


def normalised_softmax(num_classes: int, embedding_dim: int, temperature: float = 0.05) -> LibraryLoss:
    """Zhai and Wu, BMVC 2019: cross entropy of cos(f, w_c) / temperature."""
    from pytorch_metric_learning.losses import NormalizedSoftmaxLoss

    check_number("temperature", temperature, above=0)
    return _class_weights(
        NormalizedSoftmaxLoss(num_classes, embedding_dim, temperature=temperature), num_classes, embedding_dim
    )


def cosface(num_classes: int, embedding_dim: int, margin: float = 0.35, scale: float = 64.0) -> LibraryLoss:
    """Wang et al., CVPR 2018: cross entropy of scale * (cos(f, w_c) - margin for the own class)."""
    from pytorch_metric_learning.losses import CosFaceLoss

    _check_margin_and_scale(margin, scale)
    return _class_weights(
        CosFaceLoss(num_classes, embedding_dim, margin=margin, scale=scale), num_classes, embedding_dim
    )


def arcface(num_classes: int, embedding_dim: int, margin: float = 28.6, scale: float = 64.0) -> LibraryLoss:
    """Deng et al., CVPR 2019: cross entropy of scale * cos(angle(f, w_c) + margin for the own class), margin in degrees
    (28.6: the paper's 0.5 rad); beyond 180 degrees - margin linear instead: cos(angle) - margin * sin(margin)."""
    from pytorch_metric_learning.losses import ArcFaceLoss

    _check_margin_and_scale(margin, scale)
    loss = ArcFaceLoss(num_classes, embedding_dim, margin=margin, scale=scale, distance=_clamped_cosine()())
    return _class_weights(loss, num_classes, embedding_dim)


def sub_center_arcface(
    num_classes: int, embedding_dim: int, margin: float = 28.6, scale: float = 64.0, centers_per_class: int = 3
) -> LibraryLoss:
    """Deng et al., ECCV 2020: ArcFace with the largest cosine of a class's centres as that of the class."""
    from pytorch_metric_learning.losses import SubCenterArcFaceLoss

    _check_margin_and_scale(margin, scale)
    count = check_count("centers_per_class", centers_per_class, 1)
    loss = SubCenterArcFaceLoss(
        num_classes=num_classes, embedding_size=embedding_dim, margin=margin, scale=scale, sub_centers=count,
        distance=_clamped_cosine()(),
    )  # fmt: skip
    return _class_weights(loss, num_classes, embedding_dim, count)


def _check_margin_and_scale(margin: float, scale: float) -> None:
    check_number("margin", margin, at_least=0)
    check_number("scale", scale, above=0)


def fast_ap(num_classes: int, embedding_dim: int, bins: int = 10) -> LibraryLoss:
    """Cakir et al., CVPR 2019: 1 - AP of each anchor that has a positive, AP = 1/N+ sum over bins of h+ H+ / H, from
    soft histograms h of squared distances in [0, 4] and their cumulative sums H."""
    from pytorch_metric_learning.losses import FastAPLoss

    return LibraryLoss(FastAPLoss(num_bins=check_count("bins", bins, 1)), sizes=(num_classes, embedding_dim))


def snr(
    num_classes: int, embedding_dim: int, pos_margin: float = 0.0, neg_margin: float = 1.0, zero_mean: float = 0.005
) -> LibraryLoss:
    """Yuan et al., CVPR 2019, contrastive form: mean of [d - pos_margin]+ over positive pairs plus mean of
    [neg_margin - d]+ over negative ones, where not zero, d_ab = var(a - b) / var(a) over the components of normalised
    embeddings; plus zero_mean * mean |sum of an embedding's components|."""
    from pytorch_metric_learning.losses import SignalToNoiseRatioContrastiveLoss
    from pytorch_metric_learning.regularizers import ZeroMeanRegularizer

    check_count("embedding_dim", embedding_dim, 2)
    for name, value in (("pos_margin", pos_margin), ("neg_margin", neg_margin), ("zero_mean", zero_mean)):
        check_number(name, value, at_least=0)
    penalty = {"embedding_regularizer": ZeroMeanRegularizer(), "embedding_reg_weight": zero_mean} if zero_mean else {}
    loss = SignalToNoiseRatioContrastiveLoss(
        pos_margin=pos_margin, neg_margin=neg_margin, distance=_safe_snr()(), **penalty
    )
    return LibraryLoss(loss, sizes=(num_classes, embedding_dim))


def circle(num_classes: int, embedding_dim: int, margin: float = 0.4, scale: float = 80.0) -> LibraryLoss:
    """Sun et al., CVPR 2020, on pairs: mean over anchors of softplus(logsumexp of scale a_n (s_n - margin) +
    logsumexp of -scale a_p (s_p - 1 + margin)), a_n = [s_n + margin]+ and a_p = [1 + margin - s_p]+ without
    gradient."""
    from pytorch_metric_learning.losses import CircleLoss

    _check_margin_and_scale(margin, scale)
    return LibraryLoss(CircleLoss(m=margin, gamma=scale), sizes=(num_classes, embedding_dim))


class EachPairOnce(torch.nn.Module):
    """In place of a miner: all negative pairs, and of the two orders of a positive pair (of equal loss) one."""

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices

        anchors, positives, *negative = get_all_pairs_indices(labels)
        once = anchors < positives
        return anchors[once], positives[once], *negative


def lifted_structure(
    num_classes: int, embedding_dim: int, margin: float = 1.0, normalize: bool = False, l2: float = 0.005
) -> LibraryLoss:
    """Song et al., CVPR 2016: mean over positive pairs of [J]+^2 / 2, J_ij = d_ij + logsumexp of margin - d over
    all negative pairs of i and of j; plus l2 * mean |f|^2."""
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import LiftedStructureLoss

    check_number("margin", margin, at_least=0)
    loss = LiftedStructureLoss(
        neg_margin=margin, pos_margin=0, distance=LpDistance(normalize_embeddings=normalize), **_squared_length(l2)
    )
    return LibraryLoss(loss, EachPairOnce(), sizes=(num_classes, embedding_dim))


LIBRARY = {
    "n_pair": n_pair,
    "margin": margin,
    "margin_per_class": margin_per_class,
    "normalised_softmax": normalised_softmax,
    "cosface": cosface,
    "arcface": arcface,
    "sub_center_arcface": sub_center_arcface,
    "fast_ap": fast_ap,
    "snr": snr,
    "circle": circle,
    "lifted_structure": lifted_structure,
}
