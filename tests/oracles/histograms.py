"""Losses of soft histograms. Embeddings (B, D) of float64, labels (B,); each function gives a scalar."""

import torch

from tests.oracles.vectors import distances, mean, pair_masks, unit


def soft_histogram(values, start, width, bins):
    """Counts (bins + 1,) of values (n,) at the nodes start + k * width: each by its closeness to its two nearest."""
    nodes = [start + k * width for k in range(bins + 1)]
    return torch.stack([torch.relu(1 - (values - node).abs() / width).sum() for node in nodes])


def fast_ap(embeddings, labels, bins):
    """Cakir et al., CVPR 2019: mean of 1 - AP over the anchors that have a positive,

    AP = 1 / N+ * sum over nodes of h+ H+ / H, h+ the histogram of the squared distances in [0, 4] to the anchor's N+
    positives, H+ its cumulative sums and H those of all other images.
    """
    x, (same, other), terms = unit(embeddings), pair_masks(labels), []
    squared = distances(x, x) ** 2
    for i in range(len(x)):
        if same[i].any():
            positive = soft_histogram(squared[i][same[i]], 0, 4 / bins, bins)
            everything = soft_histogram(squared[i][same[i] | other[i]], 0, 4 / bins, bins)
            here = positive > 0
            shares = positive.cumsum(0)[here] / everything.cumsum(0)[here]
            terms.append(1 - (positive[here] * shares).sum() / same[i].sum())
    return mean(terms)


def histogram(embeddings, labels, bins):
    """Ustinova and Lempitsky, NeurIPS 2016: sum over nodes r of h-_r (h+_1 + ... + h+_r),

    h+ and h- the shares of the cosines in [-1, 1] of the pairs of one class and of two classes; 0 without either.
    """
    x, (same, other) = unit(embeddings), pair_masks(labels)
    cosines, once = x @ x.T, torch.ones(len(x), len(x)).tril(-1).bool()
    if not same.any() or not other.any():
        return 0
    positive, negative = (
        soft_histogram(cosines[kind & once], -1, 2 / bins, bins) / (kind & once).sum() for kind in (same, other)
    )
    return sum(negative[r] * positive[: r + 1].sum() for r in range(bins + 1))
