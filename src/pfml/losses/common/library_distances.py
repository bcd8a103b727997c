"""Distances of pytorch-metric-learning with a floor where the library's have none.

A module of its own, imported where a loss is built: it needs the library, and pickles find the classes by its name.
"""

from __future__ import annotations

from pytorch_metric_learning.distances import CosineSimilarity, SNRDistance


class ClampedCosine(CosineSimilarity):
    """Cosines below 1 by more than rounding: at 1 the arc cosine has no slope."""

    def compute_mat(self, query_emb, ref_emb):
        return super().compute_mat(query_emb, ref_emb).clamp(-1 + 1e-6, 1 - 1e-6)


class SafeSNR(SNRDistance):
    """SNR distances var(a - b) / var(a) with a floor of 1e-8 under the divisor, which is 0 for a constant vector."""

    def compute_mat(self, query_emb, ref_emb):
        noise = (query_emb.unsqueeze(1) - ref_emb).var(dim=2)
        return noise / query_emb.var(dim=1).clamp_min(1e-8).unsqueeze(1)
