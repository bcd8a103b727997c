"""What the oracles share: unit vectors, distances by differences, pairs of a batch, means and cross entropies.

Shapes: B images, N classes, D dimensions, M proxies of a class. Everything is float64 and differentiable.
"""

import torch


def unit(x):
    """x (..., D) at length 1."""
    return x / x.norm(dim=-1, keepdim=True)


def distances(x, y):
    """Euclidean distances (n, m) of x (n, D) and y (m, D), by differences; at distance 0 the slope is 0."""
    return torch.stack([(point - y).norm(dim=1) for point in x])


def pair_masks(labels):
    """Ordered pairs of different images (B, B): those of one class, those of two classes."""
    same = labels[:, None] == labels[None]
    return same & ~torch.eye(len(labels), dtype=torch.bool), ~same


def classes_of(labels):
    """Rows of the images of each class in the batch."""
    return [(labels == c).nonzero()[:, 0].tolist() for c in sorted(set(labels.tolist()))]


def mean_above_zero(terms):
    """Mean of the terms above 0, or 0."""
    terms = terms[terms > 0]
    return terms.mean() if len(terms) else 0


def mean(terms):
    """Mean of a list of scalars, or 0."""
    return sum(terms) / len(terms) if terms else 0


def cross_entropy(logits, labels):
    """Mean over rows of log(sum of exp(logits)) - the logit of the label; logits (n, N), labels (n,)."""
    return mean([torch.logsumexp(row, 0) - row[y] for row, y in zip(logits, labels.tolist())])
