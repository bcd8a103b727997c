"""Losses in the Poincare ball of curvature -c: Hyp and HIER. Embeddings (B, D) of float64, labels (B,)."""

import torch

from tests.oracles.proxies import proxy_anchor
from tests.oracles.vectors import classes_of, mean


def into_ball(vectors, c, clip, riemannian=False):
    """Exponential map at the origin (Ganea et al., NeurIPS 2018): tanh(sqrt(c) |u|) u / (sqrt(c) |u|), (n, D).

    Vectors whose length + 1e-5 is above `clip` are cut to it first, as in both codes. With `riemannian` the gradient
    is multiplied by (1 - c |z|^2)^2 / 4 where it enters, as HIER does.
    """
    points = []
    for u in vectors:
        if u.norm() + 1e-5 > clip:
            u = u / (u.norm() + 1e-5) * clip
        z = torch.tanh(c**0.5 * u.norm()) * u / (c**0.5 * u.norm())
        if riemannian:
            z = (z - z.detach()) * (1 - c * (z @ z).detach()) ** 2 / 4 + z.detach()
        points.append(z)
    return torch.stack(points)


def moebius_distances(x, y, c):
    """Ganea et al.: 2 / sqrt(c) artanh(sqrt(c) |(-x) + y|), + of Moebius, of points (..., D).

    Equal points are at distance 0, where the gradient is 0.
    """
    apart = (x != y).any(-1)
    y = torch.where(apart[..., None], y, y.detach() * 0 + 1e-3)  # a place apart, so that nothing is 0 / 0
    x, x2, y2, dot = -x, (x * x).sum(-1, keepdim=True), (y * y).sum(-1, keepdim=True), -(x * y).sum(-1, keepdim=True)
    added = ((1 + 2 * c * dot + c * y2) * x + (1 - c * x2) * y) / (1 + 2 * c * dot + c**2 * x2 * y2)
    return torch.where(apart, 2 / c**0.5 * torch.atanh(c**0.5 * added.norm(dim=-1)), 0)


def all_distances(x, y, c):
    """Distances (n, m) of points x (n, D) and y (m, D)."""
    return torch.stack([moebius_distances(point.expand_as(y), y, c) for point in x])


def hyp(embeddings, labels, c, temperature, clip):
    """Ermolov et al., CVPR 2022: for every ordered pair (a, b) of numbers of images inside a class, the mean over the
    classes that have both of -log of the share of exp(-d / temperature) of the a-th image and the b-th of its class
    among the b-th images of all these classes and the a-th of the others."""
    z = into_ball(embeddings, c, clip)
    logits = -all_distances(z, z, c) / temperature
    groups, total = classes_of(labels), 0
    for a in range(max(map(len, groups))):
        for b in range(max(map(len, groups))):
            both, terms = [members for members in groups if len(members) > max(a, b)], []
            if a != b:
                for members in both:
                    seen = [o[b] for o in both] + [o[a] for o in both if o is not members]
                    row = logits[members[a]]
                    terms.append(row[seen].logsumexp(0) - row[members[b]])
            total = total + mean(terms)
    return total


def hier(embeddings, labels, proxies, ancestors, drawn, *, margin, tau, c, clip, lambda1, lambda2, anchor_margin,
         anchor_scale):  # fmt: skip
    """Kim et al., CVPR 2023: lambda1 * Proxy Anchor + lambda2 * `tree` of the images and of the ancestors.

    proxies (N, D); ancestors (m, D), the hierarchical proxies; drawn: what was drawn for the two trees, see `tree`.
    """
    z, rho = into_ball(embeddings, c, clip, riemannian=True), into_ball(ancestors, c, clip, riemannian=True)
    trees = [tree(all_distances(nodes, rho, c), one, margin, tau) for nodes, one in zip((z, rho), drawn)]
    return lambda1 * proxy_anchor(z, labels, proxies, anchor_margin, anchor_scale) + lambda2 * sum(trees)


def tree(distances, drawn, margin, tau):
    """Kim et al.: mean over triplets (i, j, k) of [d(i, low) - d(i, high) + margin]+ +
    [d(j, low) - d(j, high) + margin]+ + [d(k, high) - d(k, low) + margin]+, 0 where low is high.

    distances (n, m) of nodes and ancestors. low, the ancestor of i and j, is chosen by Gumbel-max with logits
    -max(d_i, d_j) / tau, high, that of all three, with -max(d_i, d_j, d_k) / tau; the gradient passes through the
    softmax of the noisy logits.

    drawn: "triplets", rows i, j, k (t,) each; "low" and "high" (t,); "clocks" (2, active, m), exponential numbers for
        the active triplets, which have a gradient. The Gumbel noise of column m is -log of what remains of its clock
        after the chosen one rang: -log(e_chosen p_m + e_m), -log(e_chosen p_chosen) at the choice, p the shares.
    """
    nodes, low, high = (torch.stack(list(drawn["triplets"])).T.tolist(), drawn["low"], drawn["high"])
    one_hot = torch.eye(distances.shape[1], dtype=distances.dtype)
    clocks, total = iter(drawn["clocks"].transpose(0, 1)), 0
    for (i, j, k), *chosen in zip(nodes, low.tolist(), high.tolist()):
        if chosen[0] == chosen[1]:
            continue
        pair = torch.maximum(distances[i], distances[j])
        logits = [-pair / tau, -torch.maximum(pair, distances[k]) / tau]

        def hinges(at_low, at_high, i=i, j=j, k=k):
            gaps = [(distances[node] * (at_low - at_high)).sum() for node in (i, j, k)]
            return torch.relu(torch.stack([gaps[0] + margin, gaps[1] + margin, margin - gaps[2]]))

        if not (hinges(*(one_hot[c] for c in chosen)) > 0).any():
            continue
        choices = []
        for c, z, e in zip(chosen, logits, next(clocks)):
            p = z.detach().softmax(0)
            noise = -torch.log(e[c] * p + torch.where(one_hot[c] > 0, 0, e))
            soft = (z + noise).softmax(0)
            assert soft.argmax() == c
            choices.append(one_hot[c] - soft.detach() + soft)
        total = total + hinges(*choices).sum()
    assert next(clocks, None) is None, "as many active triplets as the loss drew for"
    return total / max(1, len(nodes))
