"""Facility location. Embeddings (B, D) of float64, labels (B,)."""

from collections import Counter
from math import log, sqrt

import torch

from tests.oracles.vectors import classes_of, distances, unit


def nmi(labels, clusters):
    """Mutual information of two labelings over the geometric mean of their entropies; where one has a single group it
    is 0, and 1 if both have."""
    count = len(labels)

    def entropy(groups):
        return -sum(n / count * log(n / count) for n in Counter(groups).values())

    own, found, joint = entropy(labels), entropy(clusters), entropy(zip(labels, clusters))
    if len(set(labels)) == 1 or len(set(clusters)) == 1:
        return float(len(set(labels)) == len(set(clusters)))
    return (own + found - joint) / sqrt(own * found)


def nearest(d, medoids):
    """Number of each image's nearest medoid, of equals the first; a medoid is its own."""
    found = d[medoids].argmin(0).tolist()
    return [medoids.index(j) if j in medoids else number for j, number in enumerate(found)]


def clustering(embeddings, labels, gamma, rounds):
    """Song et al., CVPR 2017, as in TensorFlow 1: [F(S) + gamma (1 - NMI(S)) - F*]+,

    F(S) minus the sum of the images' distances to the nearest of the medoids S, F* that of the best medoid of each
    class. S is found greedily and then by `rounds` of local search.
    """
    x, labels = unit(embeddings), labels.tolist()
    count, exact = len(x), distances(x, x)
    d, medoids = exact.detach().numpy(), []
    for _ in set(labels):
        scores = {}
        for new in (i for i in range(count) if i not in medoids):
            tried = [*medoids, new]
            scores[new] = -d[tried].min(0).sum() + gamma * (1 - nmi(labels, nearest(d, tried)))
        medoids.append(max(scores, key=scores.get))
    for _ in range(rounds):
        clusters, before = nearest(d, medoids), list(medoids)
        for number in range(len(medoids)):
            members, scores = [j for j in range(count) if clusters[j] == number], {}
            for new in members:
                tried = [*medoids[:number], new, *medoids[number + 1 :]]
                scores[new] = -d[new][members].sum() + gamma * (1 - nmi(labels, nearest(d, tried)))
            medoids[number] = max(scores, key=scores.get)
        if medoids == before:
            break  # all further rounds would do the same
    found = -sum(exact[medoids[number], j] for j, number in enumerate(d[medoids].argmin(0).tolist()))
    own = 0
    for members in classes_of(torch.tensor(labels)):
        best = min(members, key=lambda i, members=members: d[i][members].sum())
        own = own - exact[best][members].sum()
    return torch.relu(found + gamma * (1 - nmi(labels, nearest(d, medoids))) - own)
