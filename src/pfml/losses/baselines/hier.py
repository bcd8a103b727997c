"""HIER: Kim, Jeong and Kwak, "Metric Learning Beyond Class Labels via Hierarchical Regularization", CVPR 2023.

Repository tjddus9597/HIER-CVPR23. It also measures retrieval by the distance in the ball, this pipeline by the cosine.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.baselines.ancestors import TripletLoss
from pfml.losses.common.checks import check_batch, check_count, check_number
from pfml.losses.common.draws import Draws
from pfml.losses.common.poincare import ball_distances, to_ball
from pfml.losses.common.relative_rate import learn_at


class _Points(nn.Module):
    def __init__(self, points: Tensor):
        super().__init__()
        self.points = nn.Parameter(points)


class HIER(nn.Module):
    """Proxy Anchor plus a hierarchy of proxies without class in the Poincare ball: lambda1 * L_PA + lambda2 * L_HIER.

    L_PA (Kim et al., CVPR 2020, Eq. 4) sees cosines. For L_HIER triplets (i, j, k) are drawn: j among the
    neighbours that i has in common with i as theirs (each among the other's topk nearest, own class first), k among the
    rest, i itself included as in the authors' code. The lowest common ancestor of i and j is a hierarchical proxy rho
    drawn by Gumbel-max with logits -max(d_i, d_j) / tau, that of all three likewise with -max(d_i, d_j, d_k) / tau;
    the gradient passes through the soft choice. Each triplet whose two ancestors differ adds

    [d(i, rho_ij) - d(i, rho_ijk) + margin]+ + [d(j, rho_ij) - d(j, rho_ijk) + margin]+
    + [d(k, rho_ijk) - d(k, rho_ij) + margin]+,

    averaged over all triplets; once for the embeddings and once for the hierarchical proxies among themselves.
    Anchors with fewer than two common neighbours draw no triplet.

    Args:
        num_classes: N.
        embedding_dim: D.
        hierarchy: number of hierarchical proxies.
        tau, margin, topk, triplets: see above; triplets are per anchor.
        c, clip: curvature, and length to which vectors are cut before they enter the ball.
        lambda1, lambda2: weights.
        anchor_margin, anchor_scale: of Proxy Anchor.
        hierarchy_rate: learning rate of the hierarchical proxies as a multiple of proxy_lr (authors: 50 and 10^4 times
            the network's).

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    def __init__(
        self, num_classes: int, embedding_dim: int, hierarchy: int = 512, tau: float = 0.1, margin: float = 0.1,
        topk: int = 20, triplets: int = 50, c: float = 0.1, clip: float = 2.3, lambda1: float = 1.0,
        lambda2: float = 0.5, anchor_margin: float = 0.1, anchor_scale: float = 32.0, hierarchy_rate: float = 0.005,
    ):  # fmt: skip
        super().__init__()
        for name, value in (("tau", tau), ("c", c), ("clip", clip), ("anchor_scale", anchor_scale)):
            check_number(name, value, above=0)
        for name, value in (
            ("margin", margin), ("lambda1", lambda1), ("lambda2", lambda2), ("anchor_margin", anchor_margin)
        ):  # fmt: skip
            check_number(name, value, at_least=0)
        self.sizes = check_count("num_classes", num_classes, 1), check_count("embedding_dim", embedding_dim, 1)
        self.topk, self.triplets = check_count("topk", topk, 1), check_count("triplets", triplets, 1)
        self.tau, self.margin, self.c, self.clip, self.lambda1, self.lambda2 = tau, margin, c, clip, lambda1, lambda2
        self.anchor_margin, self.anchor_scale = anchor_margin, anchor_scale
        self.proxies = nn.Parameter(torch.empty(num_classes, 1, embedding_dim))
        nn.init.kaiming_normal_(self.proxies.data[:, 0], mode="fan_out")
        start = torch.randn(check_count("hierarchy", hierarchy, 2), embedding_dim)
        self.hierarchy = _Points(start / math.sqrt(embedding_dim) * clip * 0.9)
        learn_at(self.hierarchy, hierarchy_rate, "hierarchy_rate")
        self.draws = Draws()

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar."""
        check_batch(embeddings, labels, *self.sizes, least=1)
        points = to_ball(embeddings, self.c, self.clip, riemannian=True)
        generator = self.draws.generator(embeddings.device)
        return self.lambda1 * self.proxy_anchor(points, labels) + self.lambda2 * self.hier(points, labels, generator)

    def proxy_anchor(self, points: Tensor, labels: Tensor) -> Tensor:
        """mean over present classes of log(1 + sum over own of e^(-scale (s - margin))) + mean over all classes of
        log(1 + sum over others of e^(scale (s + margin))), s cosines."""
        cosines = F.normalize(points, dim=1) @ F.normalize(self.proxies[:, 0], dim=1).T
        own = F.one_hot(labels, self.sizes[0]).bool()
        zero = cosines.new_zeros(1, self.sizes[0])  # the 1 in the logarithm
        pull = (-self.anchor_scale * (cosines - self.anchor_margin)).masked_fill(~own, -torch.inf)
        push = (self.anchor_scale * (cosines + self.anchor_margin)).masked_fill(own, -torch.inf)
        positive, negative = (torch.cat([zero, part]).logsumexp(0) for part in (pull, push))
        return positive.sum() / own.any(0).sum() + negative.mean()

    def hier(self, points: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        ancestors = to_ball(self.hierarchy.points, self.c, self.clip, riemannian=True)
        near = torch.exp(-ball_distances(points, points, self.c).detach()) + (labels[:, None] == labels)
        total = self._tree(near, ball_distances(points, ancestors, self.c), generator)
        among = ball_distances(ancestors, ancestors, self.c)
        return total + self._tree(torch.exp(-among.detach()), among, generator)

    def _tree(self, near: Tensor, distances: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of nodes with likenesses `near` (n, n) and `distances` (n, hierarchical proxies)."""
        i, j, k = self.draw_triplets(near, generator)
        if not len(i):
            return 0.0 * distances.sum()
        return TripletLoss.apply(distances, i, j, k, self.tau, self.margin, generator)

    def draw_triplets(self, near: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Rows i, j, k, each (anchors * triplets,)."""
        listed = torch.zeros_like(near, dtype=torch.bool)
        listed.scatter_(1, near.topk(min(self.topk, len(near)), dim=1).indices, True)
        mutual = (listed & listed.T).fill_diagonal_(False)
        anchors = (mutual.sum(1) > 1).nonzero()[:, 0]
        if not len(anchors):
            return anchors, anchors, anchors
        j, k = (
            torch.multinomial(some[anchors].float(), self.triplets, replacement=True, generator=generator)
            for some in (mutual, ~mutual)
        )
        return anchors.repeat_interleave(self.triplets), j.flatten(), k.flatten()
