"""Methods with a head of their own, and HTL: formulas of the rows (B, W) that the head gives. Each gives a scalar."""

import torch

from tests.oracles.proxies import proxy_anchor
from tests.oracles.vectors import mean, pair_masks, unit


def distance(a, b):
    """As the code of DiVA has it: never 0."""
    return ((a - b).square().sum() + 1e-8).sqrt()


def margin_loss(x, labels, triplets, betas, margin):
    """Wu et al., ICCV 2017, of unit x (B, D) and triplets (T, 3): the mean of the terms above 0; betas (N,)."""
    terms = []
    for a, p, n in triplets:
        beta = betas[labels[a]]
        terms += [distance(x[a], x[p]) - beta + margin, beta - distance(x[a], x[n]) + margin]
    return mean([term for term in terms if term > 0])


def density_weight(d, dim):
    """log of one over the density of distances d on the sphere, up to a constant (Wu et al., Eq. 3)."""
    return (2 - dim) * torch.log(d) - (dim - 3) / 2 * torch.log(1 - d**2 / 4)


def dance(queries, keys, remembered, temperature, cutoff, upper_cutoff):
    """Milbich et al., ECCV 2020: cross entropy of query i to key i, against remembered keys whose similarity is
    weighted by w_ij = e^(log weight of their distance) / sum over the batch; 0 beyond upper_cutoff, where it is the
    smallest number instead.
    """
    logs = torch.zeros(len(queries), len(remembered), dtype=torch.float64)
    far = logs > 0
    for i, q in enumerate(queries.detach()):
        for j, m in enumerate(remembered):
            d = torch.sqrt(torch.clamp(2 - 2 * q @ m, min=cutoff**2))
            logs[i, j], far[i, j] = density_weight(d, len(q)), d > upper_cutoff
    raw = torch.exp(logs - logs.max())
    raw[far] = 0
    raw = raw.clamp_min(torch.finfo(torch.float32).tiny)
    weights = raw / raw.sum(0)
    losses = []
    for i, q in enumerate(queries):
        logits = torch.stack([q @ keys[i], *(w * (q @ m) for w, m in zip(weights[i], remembered))]) / temperature
        losses.append(torch.logsumexp(logits, 0) - logits[0])
    return mean(losses)


class Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


def diva(loss, rows, labels, keys, drawn, *, weights, separation, margin, **of_dance):
    """Milbich et al., ECCV 2020. drawn: triplets of the discriminative, the shared and the intra head.

    L = margin(discriminative) + w1 DaNCE(self) + w2 margin(shared) + w3 margin(intra) - separation * sum over (self,
    shared, intra) of mean((discriminative * R(part))^2), R at length 1, the gradient to the parts reversed.
    """
    parts = [unit(part) for part in rows.chunk(4, 1)]
    discriminative, own, shared, intra = parts
    energies = [
        margin_loss(x, labels, torch.stack(list(triplets)).T.tolist(), betas, margin)
        for x, triplets, betas in zip((discriminative, shared, intra), drawn, loss.boundaries.beta)
    ]
    turned = [unit(Turned.apply(part)) for part in parts]
    pulled = sum(
        (turned[0] * unit(adversary(part))).square().mean() for adversary, part in zip(loss.adversaries, turned[1:])
    )
    contrast = dance(own, unit(keys), loss.memory, **of_dance)
    return (
        energies[0] + weights[0] * contrast + weights[1] * energies[1] + weights[2] * energies[2] - separation * pulled
    )


def dcml(loss, rows, labels, drawn, *, reading, margin):
    """Zheng et al., CVPR 2021, in one of two readings. Rows: composites (D), parts (D), -log of the largest weights."""
    dim = rows.shape[1] // 2
    composites, parts = rows[:, :dim], rows[:, dim : 2 * dim]
    embeddings = [composites] if reading == "composites" else [parts, *composites.chunk(4, 1)]
    total = rows[:, -1].mean()
    for x, triplets, betas in zip(embeddings, drawn, loss.boundaries.beta):
        total = total + margin_loss(unit(x), labels, torch.stack(list(triplets)).T.tolist(), betas, margin)
    return total


def drml(loss, rows, labels, *, margin, scale, whole, rebuild):
    """Zheng et al., ICCV 2021. Rows: z (D), nodes (D), error, number of the image's node."""
    dim = rows.shape[1] // 2 - 1
    z, nodes, errors, assigned = rows[:, :dim], rows[:, dim : 2 * dim].chunk(4, 1), rows[:, -2], rows[:, -1].long()
    total = whole * proxy_anchor(z, labels, loss.proxies[:, 0], margin=margin, scale=scale) + rebuild * errors.mean()
    for k, node in enumerate(nodes):
        own = assigned == k
        if own.any():
            total = total + proxy_anchor(node[own], labels[own], loss.node_proxies[k], margin=margin, scale=scale)
    return total


def htl(embeddings, labels, margins):
    """Ge et al., ECCV 2018: 1 / (2 Z) * sum over all Z triplets of [d(a, p) - d(a, n) + margin(y_a, y_n)]+, d squared;
    margins (N, N).
    """
    x, (same, other) = unit(embeddings), pair_masks(labels)
    total, count = 0 * x.sum(), 0
    for a in range(len(x)):
        d = (x[a] - x).square().sum(1)
        for p in same[a].nonzero()[:, 0].tolist():
            total = total + torch.relu(d[p] - d[other[a]] + margins[labels[a], labels[other[a]]]).sum()
            count += int(other[a].sum())
    return total / (2 * max(count, 1))
