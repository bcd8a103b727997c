"""Losses of pairs of the batch. Embeddings (B, D) of float64, labels (B,); each function gives a scalar."""

import torch

from tests.oracles.vectors import classes_of, cross_entropy, distances, mean, mean_above_zero, pair_masks, unit


def contrastive(embeddings, labels, pos_margin, neg_margin):
    """Hadsell et al., CVPR 2006, with distances d not squared and the two kinds of pairs averaged apart:

    mean of [d - pos_margin]+ over pairs of one class + mean of [neg_margin - d]+ over the others, where above 0.
    """
    x, (same, other) = unit(embeddings), pair_masks(labels)
    d = distances(x, x)
    return mean_above_zero(d[same] - pos_margin) + mean_above_zero(neg_margin - d[other])


def snr(embeddings, labels, pos_margin, neg_margin, zero_mean):
    """Yuan et al., CVPR 2019: `contrastive` of d_ab = var(a - b) / var(a), variances over the D components.

    Their regularizer of the means is zero_mean * mean |sum of the components of an embedding|.
    """
    x, (same, other) = unit(embeddings), pair_masks(labels)
    d = torch.stack([(a - x).var(dim=1) / a.var() for a in x])
    attract, repel = mean_above_zero(d[same] - pos_margin), mean_above_zero(neg_margin - d[other])
    return attract + repel + zero_mean * embeddings.sum(1).abs().mean()


def circle(embeddings, labels, margin, scale):
    """Sun et al., CVPR 2020, anchor by anchor; s cosines:

    log(1 + sum over negatives of exp(scale a_n (s - m)) * sum over positives of exp(-scale a_p (s - 1 + m))), with
    a_n = [s + m]+ and a_p = [1 + m - s]+ constant. Anchors without a pair of each kind are left out.
    """
    x, (same, other), terms = unit(embeddings), pair_masks(labels), []
    for i in range(len(x)):
        positive, negative = x[same[i]] @ x[i], x[other[i]] @ x[i]
        if len(positive) and len(negative):
            by_positive = (1 + margin - positive).detach().clamp(min=0)
            by_negative = (negative + margin).detach().clamp(min=0)
            pull = (-scale * by_positive * (positive - 1 + margin)).logsumexp(0)
            push = (scale * by_negative * (negative - margin)).logsumexp(0)
            terms.append(torch.logaddexp(0 * pull, pull + push))
    return mean([term for term in terms if term > 0])


def multi_similarity(embeddings, labels, alpha, beta, base, epsilon, over="batch"):
    """Wang et al., CVPR 2019; s cosines.

    An anchor's positives are those below its largest negative + epsilon, its negatives those above its smallest
    positive - epsilon, or with epsilon None all of them:
    log(1 + sum of exp(-alpha (s - base))) / alpha + log(1 + sum of exp(beta (s - base))) / beta.

    over: "batch": the mean over all images, as in the paper; "anchors": over the anchors with pairs of both kinds, as
        in the code of DAS.
    """
    x, (same, other), terms = unit(embeddings), pair_masks(labels), []
    for i in range(len(x)):
        positive, negative = x[same[i]] @ x[i], x[other[i]] @ x[i]
        if epsilon is None:
            attract = torch.log1p(torch.exp(-alpha * (positive - base)).sum()) / alpha
            terms.append(attract + torch.log1p(torch.exp(beta * (negative - base)).sum()) / beta)
        elif len(positive) and len(negative):
            farthest, nearest = positive.min(), negative.max()
            positive, negative = positive[positive < nearest + epsilon], negative[negative > farthest - epsilon]
            if len(positive):  # then there is a negative too
                attract = torch.log1p(torch.exp(-alpha * (positive - base)).sum()) / alpha
                terms.append(attract + torch.log1p(torch.exp(beta * (negative - base)).sum()) / beta)
    return sum(terms) / len(labels) if over == "batch" else mean(terms)


def lifted_structure(embeddings, labels, margin, normalize, l2):
    """Song et al., CVPR 2016, and the penalty of Roth et al., ICML 2020, l2 * mean |f|:

    J = log(sum over the negatives k of i and of j of exp(margin - d)) + d_ij, the mean of [J]+^2 / 2 over the pairs of
    one class.
    """
    x, (same, other), terms = unit(embeddings) if normalize else embeddings, pair_masks(labels), []
    d = distances(x, x)
    for i in range(len(x)):
        for j in range(i):
            if same[i, j] and other[i].any():
                negatives = torch.cat([d[i][other[i]], d[j][other[j]]])
                terms.append(torch.relu((margin - negatives).logsumexp(0) + d[i, j]) ** 2 / 2)
    return mean(terms) + l2 * embeddings.norm(dim=1).mean()


def n_pair(embeddings, labels, l2, normalize=False):
    """Sohn, NeurIPS 2016 (N-pair-mc): f and f+ are the first two images of each class that has two;

    mean over classes i of log(1 + sum over j != i of exp(f_i.f_j+ - f_i.f_i+)), plus l2 * mean |f|^2 over the batch.
    """
    x = unit(embeddings) if normalize else embeddings
    chosen = [members[:2] for members in classes_of(labels) if len(members) > 1]
    logits = [torch.stack([x[a] @ x[q] for _, q in chosen]) for a, _ in chosen]
    return cross_entropy(logits, torch.arange(len(chosen))) + l2 * (embeddings**2).sum(1).mean()
