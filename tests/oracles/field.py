"""The field as the paper writes it (Bhatnagar and Ahuja, CVPR 2025, arXiv 2405.18560): point by point, literal
potentials, float64 autograd. Slow on purpose, and shares nothing with what it judges.

A law is (attraction, repulsion, inside, outside): Eqs. 1 and 2 as functions of distances d (float64, any shape), and
their constant values for a pair of one class inside delta and for a pair of two classes beyond delta_rep.
"""

import math

import torch

E = 1e-3  # the default distance floor


def beyond(d, delta):
    """Distances as attraction knows them: constant, so without slope, below delta."""
    return torch.where(d < delta, delta, d)


def between(d, eps, delta_rep):
    """Distances as repulsion knows them: constant, so without slope, below eps and from delta_rep on."""
    return torch.where(d < delta_rep, torch.where(d < eps, eps, d), delta_rep)


def power_law(alpha, delta, delta_rep=None, eps=E):
    """PFML: Eqs. 1 and 2, literal: -d^-alpha from delta on, d^-alpha up to delta_rep, constant elsewhere."""
    delta_rep = delta if delta_rep is None else delta_rep

    def attraction(d):
        return -(beyond(d, delta) ** -alpha)

    def repulsion(d):
        return between(d, eps, delta_rep) ** -alpha

    return attraction, repulsion, -(delta**-alpha), delta_rep**-alpha


def zero_law(form, delta, delta_rep=None, eps=E):
    """PFML at alpha = 0 in its two readings, already in excess form: log d or d in the place of -d^-alpha."""
    delta_rep = delta if delta_rep is None else delta_rep

    def height(d, radius):
        return d - radius if form == "linear" else d.log() - math.log(radius)

    def attraction(d):
        return height(beyond(d, delta), delta)

    def repulsion(d):
        return -height(between(d, eps, delta_rep), delta_rep)

    return attraction, repulsion, 0.0, 0.0


def quadratic_law(form, delta, delta_rep=None, eps=E):
    """CPML: Eq. 8, and the two readings of its repulsion."""
    delta_rep = delta if delta_rep is None else delta_rep

    def attraction(d):
        return beyond(d, delta) ** 2

    def repulsion(d):
        d = between(d, eps, delta_rep)
        return -(d**2) if form == "mirror" else (delta_rep - d) ** 2

    return attraction, repulsion, delta**2, -(delta_rep**2) if form == "mirror" else 0.0


def energy(embeddings, labels, proxies, law, *, proxy_proxy="all", normalize_proxies=True, absent_proxies=True):
    """Eq. 6: the sum over all ordered pairs of points, minus that of a force-free configuration.

    embeddings (B, D), labels (B,), proxies (N, M, D), all points float64 -> scalar.
    """
    attraction, repulsion, inside, outside = law
    present = [c for c in range(len(proxies)) if absent_proxies or c in labels.tolist()]
    free = [p for c in present for p in proxies[c]]
    points = [z / z.norm() for z in embeddings] + [p / p.norm() if normalize_proxies else p for p in free]
    classes = torch.tensor(labels.tolist() + [c for c in present for _ in proxies[c]])
    is_proxy = torch.arange(len(points)) >= len(embeddings)
    points, total = torch.stack(points), 0 * (embeddings.sum() + proxies.sum())
    for a, point in enumerate(points):
        d = (point - points).norm(dim=1)  # its slope at distance 0 is 0
        same = classes == classes[a]
        counts = torch.arange(len(points)) != a
        if proxy_proxy != "all" and is_proxy[a]:
            counts &= ~is_proxy if proxy_proxy == "none" else ~(is_proxy & same)
        total = total + (attraction(d[counts & same]) - inside).sum() + (repulsion(d[counts & ~same]) - outside).sum()
    return total


def double_loop(embeddings, labels, proxies, law, **options):
    """`energy` and its gradients: (float, d/d embeddings, d/d proxies), all float64."""
    z = embeddings.detach().double().requires_grad_()
    p = proxies.detach().double().requires_grad_()
    value = energy(z, labels, p, law, **options)
    grad_z, grad_p = torch.autograd.grad(value, (z, p), allow_unused=True)
    return float(value.detach()), grad_z, torch.zeros_like(p) if grad_p is None else grad_p


def assert_agrees(loss, embeddings, labels, law, rtol=1e-5, **options):
    """The loss's value and gradients against the double loop's, relative to the size of each."""
    embeddings = embeddings.detach().clone().requires_grad_()
    loss.proxies.grad = None
    value = loss(embeddings, labels)
    value.backward()
    expected, grad_z, grad_p = double_loop(embeddings.cpu(), labels.cpu(), loss.proxies.cpu(), law, **options)
    assert abs(float(value.detach()) - expected) <= rtol * abs(expected) + 1e-12
    scale = float(torch.cat([grad_z.flatten(), grad_p.flatten()]).norm())
    found_p = torch.zeros_like(loss.proxies) if loss.proxies.grad is None else loss.proxies.grad
    for name, found, wanted in (("embeddings", embeddings.grad.cpu(), grad_z), ("proxies", found_p.cpu(), grad_p)):
        assert torch.isfinite(found).all(), name
        error = float((found - wanted).norm())
        assert error <= rtol * float(wanted.norm()) + 1e-7 * rtol * scale + 1e-12, (
            name,
            error,
            float(wanted.norm()),
        )


def random_batch(seed, batch, dim, classes, spread=1.0, duplicates=False):
    """Points in a cone of half-angle about `spread`; with `duplicates` some coincide exactly."""
    g = torch.Generator().manual_seed(seed)
    axis = torch.nn.functional.normalize(torch.randn(1, dim, generator=g), dim=1)
    embeddings = axis + spread * torch.randn(batch, dim, generator=g) / math.sqrt(dim)
    embeddings *= 10 ** (4 * torch.rand(batch, 1, generator=g) - 2)
    labels = torch.randint(classes, (batch,), generator=g)
    if duplicates:
        embeddings[1::2] = embeddings[:1]
    return embeddings, labels, axis
