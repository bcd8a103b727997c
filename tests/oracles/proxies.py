"""Losses of images and proxies. Embeddings (B, D) of float64, labels (B,), proxies (N, M, D), or (N, D) where a class
has one; each function gives a scalar.
"""

import math

import torch

from tests.oracles.vectors import cross_entropy, distances, unit


def proxy_nca(embeddings, labels, proxies, scale):
    """Movshovitz-Attias et al., ICCV 2017, in softmax form (the own class in the denominator too):

    cross entropy of -scale |x - p|^2. ProxyNCA++ (Teh et al., ECCV 2020) is this at scale 1 / T.
    """
    return cross_entropy(-scale * distances(unit(embeddings), unit(proxies)) ** 2, labels)


def proxy_anchor(embeddings, labels, proxies, margin, scale, first="classes"):
    """Kim et al., CVPR 2020, Eq. 4; s cosines:

    mean over present classes of log(1 + sum over own of e^(-scale (s - margin))) + mean over all classes of
    log(1 + sum over others of e^(scale (s + margin))).

    first: what the first mean is over: "classes", or "images", where a class counts by its images (PA+niV).
    """
    x, attract, repel = unit(embeddings), [], []
    for c, p in enumerate(unit(proxies)):
        s, own = x @ p, labels == c
        attract += [torch.log1p(torch.exp(-scale * (s[own] - margin)).sum())] * min(int(own.sum()), 1)
        attract += attract[-1:] * (int(own.sum()) - 1 if first == "images" else 0)
        repel.append(torch.log1p(torch.exp(scale * (s[~own] + margin)).sum()))
    return sum(attract) / len(attract) + sum(repel) / len(repel)


def class_weights(embeddings, labels, weights, kind, margin, scale):
    """Cross entropy of scale * cosine of an image and a class's nearest weight, the own class's made smaller.

    kind: "plain": Zhai and Wu, BMVC 2019 (scale 1 / temperature). "cosface": Wang et al., CVPR 2018, cosine - margin.
        "arcface": Deng et al., CVPR 2019, cos(angle + margin), margin in degrees; beyond 180 degrees - margin it is
        cosine - margin * sin(margin), as in the authors' code. Several weights of a class: Deng et al., ECCV 2020.
    """
    rows = []
    for x, y in zip(unit(embeddings), labels.tolist()):
        cosines = (unit(weights) @ x).max(dim=1).values
        own = cosines[y]
        if kind == "cosface":
            own = own - margin
        elif kind == "arcface":
            angle, m = torch.acos(own), math.radians(margin)
            own = torch.cos(angle + m) if angle <= math.pi - m else own - m * math.sin(m)
        rows.append(scale * torch.stack([own if c == y else s for c, s in enumerate(cosines)]))
    return cross_entropy(rows, labels)


def soft_triple(embeddings, labels, centres, scale, gamma, margin, tau):
    """Qian et al., ICCV 2019: cross entropy of scale * (S - margin for the own class), S_c the mean of an image's
    cosines with the class's centres, weighed by their softmax at temperature gamma; plus tau * `centre_spread`.
    """
    rows = []
    for x, y in zip(unit(embeddings), labels.tolist()):
        cosines = unit(centres) @ x
        similarities = (torch.softmax(cosines / gamma, dim=1) * cosines).sum(1)
        rows.append(scale * torch.where(torch.arange(len(centres)) == y, similarities - margin, similarities))
    return cross_entropy(rows, labels) + tau * centre_spread(centres)


def centre_spread(centres):
    """Qian et al., as in their code: sum over classes and pairs of centres of sqrt(2 - 2 cos + 1e-5), over
    N M (M - 1)."""
    (classes, count, _), total = centres.shape, 0
    for w in unit(centres):
        for s in range(count):
            for t in range(s):
                total = total + torch.sqrt(2 + 1e-5 - 2 * w[s] @ w[t])
    return total / (classes * count * (count - 1)) if count > 1 else 0


def proxy_gml(embeddings, labels, proxies, ratio, weight):
    """Zhu et al., NeurIPS 2020; all vectors at length 1.

    An image keeps the ceil(ratio N M) proxies with the largest cosines, those of its class before all others. A class's
    logit is the sum of its kept cosines; the softmax is over classes with a logit other than 0, with the 1e-8 and 1e-20
    of the authors' code. Plus weight * cross entropy of each proxy's cosines, summed by class.
    """
    units, (classes, per_class, _) = unit(proxies), proxies.shape
    flat, owner = units.flatten(0, 1), torch.arange(classes).repeat_interleave(per_class)
    total = 0
    for x, y in zip(unit(embeddings), labels.tolist()):
        cosines = flat @ x
        own_first = (cosines + 4 * (owner == y)).argsort(descending=True, stable=True)
        kept = torch.zeros(len(flat), dtype=torch.bool)
        kept[own_first[: math.ceil(ratio * len(flat))]] = True
        sums = torch.where(kept, cosines, 0).view(classes, per_class).sum(1)
        shares = torch.where(sums != 0, torch.exp(sums), 0)
        total = total - torch.log(shares[y] / (1e-8 + shares.sum()) + 1e-20)
    among = (flat @ flat.T).view(len(flat), classes, per_class).sum(2)
    return total / len(labels) + weight * cross_entropy(among, owner)
