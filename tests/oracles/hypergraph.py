"""HIST. Embeddings (B, D) of float64, labels (B,)."""

import torch

from tests.oracles.vectors import cross_entropy, unit


def hist(embeddings, labels, means, log_vars, network, tau, alpha, lambda_s):
    """Lim et al., CVPR 2022: cross entropy of -tau * d + lambda_s * cross entropy of the hypergraph network,

    d (B, N) the squared Mahalanobis distances of unit embeddings from the unit means (N, D) with variances
    exp(relu6(log_vars)) (N, D).

    network: "theta1" and "theta2", linear layers D -> hidden -> N, and "norm", a BatchNorm1d between them.
    """
    variances = torch.exp(log_vars.clamp(0, 6))
    d = torch.stack([((x - unit(means)) ** 2 / variances).sum(1) for x in unit(embeddings)])
    # Incidence (B, E) of the images in the E classes of the batch, and how far each image is from each.
    present = sorted(set(labels.tolist()))
    own = torch.stack([labels == c for c in present], 1)
    incidence = torch.where(own, 1, torch.exp(-alpha * d[:, present]))
    node, edge = torch.diag(incidence.sum(1) ** -0.5), torch.diag(1 / incidence.sum(0))
    g = node @ incidence @ edge @ incidence.T @ node
    theta1, norm, theta2 = network["theta1"], network["norm"], network["theta2"]
    first = g @ (embeddings @ theta1.weight.T + theta1.bias)
    spread = (first.var(0, unbiased=False) + norm.eps).sqrt()
    first = (first - first.mean(0)) / spread * norm.weight + norm.bias
    first = torch.where(first > 0, first, 0.1 * first)
    logits = g @ (first @ theta2.weight.T + theta2.bias)
    return cross_entropy(-tau * d, labels) + lambda_s * cross_entropy(logits, labels)
