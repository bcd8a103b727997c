"""Losses that come from a library, as their papers write them: loops over images and pairs, float64 autograd."""

import math

import torch


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def distance(a, b):
    return (a - b).norm()


def pairs(labels, same):
    n = len(labels)
    return [(i, j) for i in range(n) for j in range(n) if i != j and (labels[i] == labels[j]).item() == same]


def mean_above_zero(terms):
    terms = [t for t in terms if t > 0]
    return sum(terms) / len(terms) if terms else 0


def n_pair(embeddings, labels, l2, normalize=False):
    x = unit(embeddings) if normalize else embeddings
    members = [[i for i in range(len(labels)) if labels[i] == c] for c in labels.unique()]
    chosen = [(m[0], m[1]) for m in members if len(m) > 1]
    total = 0
    for a, p in chosen:
        total = total + torch.log(sum(torch.exp(x[a] @ x[q] - x[a] @ x[p]) for _, q in chosen))
    return total / len(chosen) + l2 * (embeddings**2).sum(1).mean()


def margin_loss(embeddings, triplets, betas, margin, nu):
    """betas: the boundary of each triplet's anchor; nu * the mean of one beta, or the sum by class over the count."""
    x, total, count = unit(embeddings), 0, 0
    for (a, p, n), beta in zip(triplets, betas):
        for term in (distance(x[a], x[p]) - beta + margin, beta - distance(x[a], x[n]) + margin):
            if term > 0:
                total, count = total + term, count + 1
    return total / count, count


def softmax(logits, labels):
    return sum(torch.logsumexp(row, 0) - row[y] for row, y in zip(logits, labels)) / len(labels)


def angular(embeddings, weights, labels, kind, margin, scale):
    """weights (N, M, D); the class's cosine is that of its nearest centre."""
    rows = []
    for x, y in zip(unit(embeddings), labels):
        cosines = [max(x @ unit(w) for w in centres) for centres in weights]
        if kind == "cosface":
            cosines[y] = cosines[y] - margin
        elif kind == "arcface":
            angle, m = torch.acos(cosines[y]), math.radians(margin)
            cosines[y] = torch.cos(angle + m) if angle <= math.pi - m else cosines[y] - m * math.sin(m)
        rows.append(scale * torch.stack(cosines))
    return softmax(rows, labels)


def fast_ap(embeddings, labels, bins):
    x, losses, width = unit(embeddings), [], 4 / bins
    for i in range(len(x)):
        positive, negative = torch.zeros(bins + 1).double(), torch.zeros(bins + 1).double()
        total = 0
        for j in range(len(x)):
            if i != j:
                squared = ((x[i] - x[j]) ** 2).sum()
                pulse = torch.stack([torch.relu(1 - (squared - k * width).abs() / width) for k in range(bins + 1)])
                if labels[i] == labels[j]:
                    positive, total = positive + pulse, total + 1
                else:
                    negative = negative + pulse
        if total:
            above, everything = positive.cumsum(0), (positive + negative).cumsum(0)
            terms = [h * a / e for h, a, e in zip(positive, above, everything) if h > 0]
            losses.append(1 - sum(terms) / total)
    return sum(losses) / len(losses)


def snr(embeddings, labels, pos_margin, neg_margin, zero_mean):
    x = unit(embeddings)

    def ratio(i, j):
        return torch.var(x[i] - x[j]) / torch.var(x[i])

    attract = mean_above_zero([ratio(i, j) - pos_margin for i, j in pairs(labels, True)])
    repel = mean_above_zero([neg_margin - ratio(i, j) for i, j in pairs(labels, False)])
    return attract + repel + zero_mean * embeddings.sum(1).abs().mean()


def circle(embeddings, labels, margin, scale):
    x, losses = unit(embeddings), []
    for i in range(len(x)):
        positive, negative = 0, 0
        for j in range(len(x)):
            if i == j:
                continue
            s = x[i] @ x[j]
            if labels[i] == labels[j]:
                weight = max(1 + margin - s.item(), 0)
                positive = positive + torch.exp(-scale * weight * (s - 1 + margin))
            else:
                weight = max(s.item() + margin, 0)
                negative = negative + torch.exp(scale * weight * (s - margin))
        if torch.is_tensor(positive) and torch.is_tensor(negative):
            losses.append(torch.log1p(positive * negative))
    losses = [loss for loss in losses if loss > 0]
    return sum(losses) / len(losses)


def lifted_structure(embeddings, labels, margin, normalize, l2):
    x, terms = unit(embeddings) if normalize else embeddings, []
    negatives = pairs(labels, False)
    for i, j in pairs(labels, True):
        if i < j:
            others = [margin - distance(x[a], x[b]) for a, b in negatives if a in (i, j)]
            hinge = torch.logsumexp(torch.stack(others), 0) + distance(x[i], x[j])
            terms.append(torch.relu(hinge) ** 2)
    return sum(terms) / (2 * len(terms)) + l2 * embeddings.norm(dim=1).mean()


def histogram(embeddings, labels, bins):
    x, width = unit(embeddings), 2 / bins

    def density(same):
        nodes, count = [torch.zeros(()).double() for _ in range(bins + 1)], 0
        for i, j in pairs(labels, same):
            if i < j:
                s, count = x[i] @ x[j], count + 1
                for r in range(bins + 1):
                    nodes[r] = nodes[r] + torch.relu(1 - (s - (-1 + r * width)).abs() / width)
        return [node / count for node in nodes]

    positive, negative = density(True), density(False)
    return sum(negative[r] * sum(positive[: r + 1]) for r in range(bins + 1))


def contrastive(embeddings, labels, pos_margin, neg_margin):
    """Distances not squared; positive and negative pairs averaged apart."""
    x = unit(embeddings)
    attract = mean_above_zero([distance(x[i], x[j]) - pos_margin for i, j in pairs(labels, True)])
    return attract + mean_above_zero([neg_margin - distance(x[i], x[j]) for i, j in pairs(labels, False)])


def triplet(embeddings, labels, margin, mining):
    """Distances not squared; mean over the mined triplets that violate the margin; TensorFlow's by its own rule."""
    x, negatives, terms = unit(embeddings), pairs(labels, False), []
    if mining == "tensorflow":
        for a, p in pairs(labels, True):
            near, others = distance(x[a], x[p]) ** 2, [distance(x[a], x[n]) ** 2 for i, n in negatives if i == a]
            beyond = [far for far in others if far > near]
            terms.append(torch.relu(near + margin - (min(beyond) if beyond else max(others))))
        return sum(terms) / len(terms)
    for a, p in pairs(labels, True):
        for n in [n for i, n in negatives if i == a]:
            near, far = distance(x[a], x[p]), distance(x[a], x[n])
            if {"semihard": far > near, "hard": far <= near, "all": True}[mining]:
                terms.append(near - far + margin)
    return mean_above_zero(terms)


def multi_similarity(embeddings, labels, alpha, beta, base, epsilon):
    """The authors' code: pairs within epsilon of the anchor's hardest pair of the other kind; mean over the batch."""
    x, total = unit(embeddings), 0 * embeddings.sum()
    for i, y in enumerate(labels):
        positive = [x[i] @ x[j] for j, other in enumerate(labels) if other == y and j != i]
        negative = [x[i] @ x[j] for j, other in enumerate(labels) if other != y]
        if positive and negative:
            far, near = min(positive), max(negative)
            attract = sum(torch.exp(-alpha * (s - base)) for s in positive if s < near + epsilon)
            repel = sum(torch.exp(beta * (s - base)) for s in negative if s > far - epsilon)
            if torch.is_tensor(attract):  # then there is a negative too
                total = total + torch.log1p(attract) / alpha + torch.log1p(repel) / beta
    return total / len(labels)


def proxy_nca(embeddings, labels, proxies, scale):
    """Squared distances to all proxies, the own one in the denominator too."""
    units = [unit(p) for p in proxies]
    return softmax([torch.stack([-scale * distance(x, p) ** 2 for p in units]) for x in unit(embeddings)], labels)


def proxy_anchor(embeddings, labels, proxies, margin, scale):
    """Eq. 4: attraction averaged over the proxies whose class is present, repulsion over all."""
    x, attract, repel, present = unit(embeddings), 0, 0, 0
    for c, p in enumerate(proxies):
        own = [torch.exp(-scale * (x[i] @ unit(p) - margin)) for i, y in enumerate(labels) if y == c]
        others = [torch.exp(scale * (x[i] @ unit(p) + margin)) for i, y in enumerate(labels) if y != c]
        present += bool(own)
        attract = attract + (torch.log1p(sum(own)) if own else 0)
        repel = repel + (torch.log1p(sum(others)) if others else 0)
    return attract / present + repel / len(proxies)


def soft_triple(embeddings, labels, proxies, scale, gamma, margin, tau):
    """A class's similarity is that of its centres, weighed by their softmax at temperature gamma."""
    rows = []
    for x, y in zip(unit(embeddings), labels):
        similarities = []
        for centres in proxies:
            cosines = torch.stack([x @ unit(w) for w in centres])
            weights = torch.exp(cosines / gamma)
            similarities.append((weights * cosines).sum() / weights.sum())
        similarities[y] = similarities[y] - margin
        rows.append(scale * torch.stack(similarities))
    return softmax(rows, labels) + tau * centre_spread(proxies)


def centre_spread(proxies):
    """The authors' code: roots of 2 - 2 cos + 1e-5, summed over classes and their pairs, over N K (K - 1)."""
    (classes, centers, _), total = proxies.shape, 0
    for centres in proxies:
        for s in range(centers):
            for t in range(s):
                total = total + torch.sqrt(2 + 1e-5 - 2 * unit(centres[s]) @ unit(centres[t]))
    return total / (classes * centers * (centers - 1)) if centers > 1 else 0
