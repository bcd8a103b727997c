"""Losses of triplets of the batch. Embeddings (B, D) of float64, labels (B,); each function gives a scalar."""

import torch

from tests.oracles.vectors import distances, mean, mean_above_zero, pair_masks, unit


def smallest(terms):
    """Of terms (n,); of equal ones the first alone has the slope."""
    return terms.min(0).values


def largest(terms):
    """Of terms (n,); of equal ones the first alone has the slope."""
    return terms.max(0).values


def triplet(embeddings, labels, margin, mining):
    """Schroff et al., CVPR 2015, with distances d not squared: mean of [d_ap - d_an + margin]+, where above 0.

    mining: over which triplets. "semihard": d_ap < d_an; "hard": d_an <= d_ap; "all". "tensorflow" is
        triplet_semihard_loss of TensorFlow 1: one negative for each pair of one class, the nearest beyond the positive,
        else the farthest of all; squared distances; the mean over all pairs of one class.
    """
    x, (same, other) = unit(embeddings), pair_masks(labels)
    d = distances(x, x)
    pairs = [(a, p) for a, p in same.nonzero().tolist() if other[a].any()]
    if mining == "tensorflow":
        terms = []
        for a, p in pairs:
            near, far = d[a, p] ** 2, d[a][other[a]] ** 2
            beyond = far[far > near]
            terms.append(torch.relu(near + margin - (smallest(beyond) if len(beyond) else largest(far))))
        return mean(terms)
    terms = [x.new_zeros(0)]
    for a, p in pairs:
        near, far = d[a, p], d[a][other[a]]
        chosen = {"semihard": far > near, "hard": far <= near, "all": far == far}[mining]
        terms.append(near - far[chosen] + margin)
    return mean_above_zero(torch.cat(terms))


def margin_loss(embeddings, triplets, betas, margin):
    """Wu et al., ICCV 2017, on triplets (a, p, n) that were drawn: sum of [d_ap - beta + margin]+ and
    [beta - d_an + margin]+ over the number of those above 0, and this number.

    betas: the boundary of each triplet's anchor.
    """
    x, terms = unit(embeddings), []
    for (a, p, n), beta in zip(triplets, betas):
        terms += [(x[a] - x[p]).norm() - beta + margin, beta - (x[a] - x[n]).norm() + margin]
    terms = [term for term in terms if term > 0]
    return mean(terms), len(terms)


def margin_of(embeddings, labels, triplets, beta, margin, nu):
    """`margin_loss` plus Wu et al.'s nu * beta. With one beta (1,) that is nu times it; with a beta of each class (N,)
    nu times the sum over triplets of their anchors' betas, over the number of terms above 0. Without triplets it is 0.
    """
    if not triplets:
        return 0 * beta.sum()
    per_class = len(beta) > 1
    betas = [beta[labels[a]] if per_class else beta[0] for a, _, _ in triplets]
    value, count = margin_loss(embeddings, triplets, betas, margin)
    if per_class:
        return value + (nu * sum(betas) / count if count else 0)
    return value + nu * beta[0]


def easy_positive(embeddings, labels, temperature, mining):
    """Xuan et al., WACV 2020: one triplet for each anchor; s cosines:

    mean over anchors of log(1 + exp((s_an - s_ap) / temperature)). The positive is the nearest of its class below
    cosine 0.9999; the negative is the nearest, or with "semihard" the nearest that is no nearer than the positive. As
    in the authors' code an anchor without a positive and a negative above cosine 0 takes no part.
    """
    x, (same, other), terms = unit(embeddings), pair_masks(labels), []
    for i in range(len(x)):
        s = x @ x[i]
        positives = s[same[i] & (s <= 0.9999)]
        if not len(positives) or positives.max() <= 0:
            continue
        positive = largest(positives)
        negatives = s[other[i] & (s <= positive)] if mining == "semihard" else s[other[i]]
        if len(negatives) and negatives.max() > 0:
            terms.append(torch.log1p(torch.exp((largest(negatives) - positive) / temperature)))
    return mean(terms)
