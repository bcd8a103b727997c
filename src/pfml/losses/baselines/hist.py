"""HIST: Lim, Yun, Park and Choi, "Hypergraph-Induced Semantic Tuplet Loss", CVPR 2022, repository ljin0429/HIST."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.ranges import Count, NonNegative, Positive
from pfml.losses.common.relative_rate import learn_at


@baseline("HIST", acts="proxy", least=2)
class HIST(nn.Module):
    """Class distributions, the hypergraph that they span over a batch, and a network that classifies its nodes:

    L = L_distribution + lambda_s * L_hypergraph.

    Class c is a normal distribution with mean mu_c of length 1 and variances exp(relu6(v_c)) along the axes;
    d(x, c) = sum over axes of (x - mu_c)^2 / variance, x of length 1. L_distribution is the cross entropy of the logits
    -tau * d. Each class in the batch is a hyperedge, which holds an image of its own class by 1 and another by
    exp(-alpha * d): the incidence H. Two layers X <- G X W + G b with
    G = Dv^-1/2 H De^-1 H^T Dv^-1/2 (BatchNorm and LeakyReLU 0.1 between them) classify the embeddings as the network
    gave them, not normalised; L_hypergraph is their cross entropy.

    Args:
        num_classes: N.
        embedding_dim: D.
        tau: 32; SOP 16.
        alpha: 1.1 CUB, 0.9 Cars, 2 SOP.
        hidden: width of the hypergraph network.
        lambda_s: weight of its loss.
        hgnn_rate: its learning rate as a multiple of proxy_lr (authors: network rate x 5 or 10, here 0.006 to 0.01 of
            the distributions' 0.1; SOP 0.1).

    Raises:
        ValueError: an argument or a batch of the wrong kind, or a batch of one image.
    """

    def __init__(
        self, num_classes: Count, embedding_dim: Count, tau: Positive = 32.0, alpha: Positive = 0.9,
        hidden: Count = 512, lambda_s: NonNegative = 1.0, hgnn_rate: Positive = 0.01,
    ):  # fmt: skip
        super().__init__()
        self.sizes = num_classes, embedding_dim
        self.tau, self.alpha, self.lambda_s = tau, alpha, lambda_s
        self.means = nn.Parameter(torch.empty(num_classes, embedding_dim))
        self.log_vars = nn.Parameter(torch.empty(num_classes, embedding_dim))
        nn.init.kaiming_normal_(self.means, mode="fan_out")
        nn.init.kaiming_normal_(self.log_vars, mode="fan_out")
        self.hgnn = nn.ModuleDict(
            {
                "theta1": nn.Linear(embedding_dim, hidden),
                "norm": nn.BatchNorm1d(hidden),
                "theta2": nn.Linear(hidden, num_classes),
            }
        )
        learn_at(self.hgnn, hgnn_rate, "hgnn_rate")

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N), B from 2 -> scalar."""
        distances = self.distances(embeddings)
        loss = F.cross_entropy(-self.tau * distances, labels)
        classified = self.classify(embeddings, propagation(self.incidence(distances, labels)))
        return loss + self.lambda_s * F.cross_entropy(classified, labels)

    def distances(self, embeddings: Tensor) -> Tensor:
        """Squared Mahalanobis distances (B, N) of the embeddings, at length 1, from the class distributions."""
        units, means = F.normalize(embeddings, dim=1), F.normalize(self.means, dim=1)
        precisions = torch.exp(-F.relu6(self.log_vars))
        # Multiplied out: a tensor (B, N, D) would take 740 MB on SOP.
        constant = (means**2 * precisions).sum(1)
        return (units**2 @ precisions.T - 2 * units @ (means * precisions).T + constant).clamp_min(0)

    def incidence(self, distances: Tensor, labels: Tensor) -> Tensor:
        """H (B, E): how far each image belongs to each of the E classes in the batch."""
        present = labels.unique()
        return torch.where(labels[:, None] == present, 1.0, torch.exp(-self.alpha * distances[:, present]))

    def classify(self, embeddings: Tensor, propagate: Tensor) -> Tensor:
        """Logits (B, N) of the hypergraph network."""
        first = F.leaky_relu(self.hgnn["norm"](propagate @ self.hgnn["theta1"](embeddings)), 0.1)
        return propagate @ self.hgnn["theta2"](first)

    @property
    def proxies(self) -> Tensor:
        """The means (N, 1, D)."""
        return self.means[:, None]


def propagation(incidence: Tensor) -> Tensor:
    """G (B, B) = Dv^-1/2 H De^-1 H^T Dv^-1/2 of H (B, E), with the row sums Dv and the column sums De."""
    nodes = incidence / incidence.sum(1, keepdim=True).sqrt()
    return nodes / incidence.sum(0) @ nodes.T
