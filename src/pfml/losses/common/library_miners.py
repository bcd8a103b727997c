"""Miners in the interface of pytorch-metric-learning, where the library's own choose otherwise than the originals.

A module of its own, imported where a loss is built: it needs the library, and pickles find the classes by its name.
Shapes: B images, T triplets.
"""

from __future__ import annotations

import torch
from pytorch_metric_learning.miners import BaseMiner, DistanceWeightedMiner
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu


class DistanceWeighted(DistanceWeightedMiner):
    """Negatives by the inverse density of distances on the sphere (Wu et al., ICCV 2017, Eq. 3), anchor by anchor.

    The library subtracts the largest log weight of the batch before it takes exponentials. At D 512 the log weights of
    near pairs are some 300 above those of others. The weights of anchors that have only others then underflow in
    float32, and these anchors lose their triplets. Here the largest of the anchor's own row is subtracted, as in the
    code of Roth et al. (ICML 2020). Anchors without a negative below `nonzero_loss_cutoff` get no triplet.
    """

    def mine(self, embeddings, labels, ref_emb, ref_labels):
        """Embeddings (B, D), labels (B,) -> anchors, positives, negatives (T,)."""
        D = embeddings.shape[1]
        d = self.distance(embeddings, ref_emb).clamp(min=self.cutoff)
        log_weights = (2.0 - D) * d.log() - (D - 3) / 2 * (1.0 - 0.25 * d.square()).log()
        allowed = (labels[:, None] != ref_labels) & (d < self.nonzero_loss_cutoff) & log_weights.isfinite()
        weights = log_weights.masked_fill(~allowed, -torch.inf).softmax(1).nan_to_num(0.0)  # no negative: NaN
        return lmu.get_random_triplet_indices(labels, ref_labels=ref_labels, weights=weights)


class NearestBeyond(BaseMiner):
    """One negative for each positive pair: the nearest that is farther away than the positive, or, if there is none,
    the farthest of all. This is the selection of TensorFlow 1 (contrib metric_loss_ops, triplet_semihard_loss).
    """

    def mine(self, embeddings, labels, ref_emb, ref_labels):
        """Embeddings (B, D), labels (B,) -> anchors, positives, negatives (T,), T the number of positive pairs."""
        d = self.distance(embeddings, ref_emb)
        anchors, positives, *_ = lmu.get_all_pairs_indices(labels, ref_labels)
        other = labels[anchors][:, None] != ref_labels
        has_negative = other.any(1)
        anchors, positives, other = (part[has_negative] for part in (anchors, positives, other))
        away = d[anchors]
        beyond = other & (away > d[anchors, positives][:, None])
        nearest = away.masked_fill(~beyond, torch.inf).argmin(1)
        farthest = away.masked_fill(~other, -torch.inf).argmax(1)
        return anchors, positives, torch.where(beyond.any(1), nearest, farthest)
