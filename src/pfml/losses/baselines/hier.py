"""HIER: Kim, Jeong and Kwak, "Metric Learning Beyond Class Labels via Hierarchical Regularization", CVPR 2023.

Repository tjddus9597/HIER-CVPR23. It also measures retrieval by the distance in the ball, this pipeline by the cosine.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.draws import Draws
from pfml.losses.common.poincare import ball_distances, to_ball
from pfml.losses.common.ranges import Count, NonNegative, Positive, Range
from pfml.losses.common.relative_rate import learn_at
from pfml.losses.common.scratch import row_chunks


class _Points(nn.Module):
    def __init__(self, points: Tensor):
        super().__init__()
        self.points = nn.Parameter(points)


@baseline("HIER", acts="proxy")
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
        self, num_classes: Count, embedding_dim: Count, hierarchy: Annotated[int, Range(at_least=2)] = 512,
        tau: Positive = 0.1, margin: NonNegative = 0.1, topk: Count = 20, triplets: Count = 50, c: Positive = 0.1,
        clip: Positive = 2.3, lambda1: NonNegative = 1.0, lambda2: NonNegative = 0.5, anchor_margin: NonNegative = 0.1,
        anchor_scale: Positive = 32.0, hierarchy_rate: Positive = 0.005,
    ):  # fmt: skip
        super().__init__()
        self.sizes, self.topk, self.triplets = (num_classes, embedding_dim), topk, triplets
        self.tau, self.margin, self.c, self.clip, self.lambda1, self.lambda2 = tau, margin, c, clip, lambda1, lambda2
        self.anchor_margin, self.anchor_scale = anchor_margin, anchor_scale
        self.proxies = nn.Parameter(torch.empty(num_classes, 1, embedding_dim))
        nn.init.kaiming_normal_(self.proxies.data[:, 0], mode="fan_out")
        start = torch.randn(hierarchy, embedding_dim)
        self.hierarchy = _Points(start / math.sqrt(embedding_dim) * clip * 0.9)
        learn_at(self.hierarchy, hierarchy_rate, "hierarchy_rate")
        self.draws = Draws()

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar."""
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


# --- Lowest common ancestors: drawn by Gumbel-max, hinges on them, and the gradient through the soft choice.
#
# Gumbel noise is -log e of an exponential number e, so softmax(log p + noise) is in proportion to 1 / T of the times
# T = e / p at which independent clocks of rates p ring; the first to ring is the choice. It is column m with
# probability p_m, at a time that is exponential of rate sum p = 1 whatever m is; the other clocks, which have no
# memory, ring e / p later. So choices are drawn from p by uniform numbers, and the noise of all columns only where a
# gradient passes: the joint distribution is that of Gumbel-max, for a fraction of its random numbers and logarithms.


class TripletLoss(torch.autograd.Function):
    """Distances (n, m) of nodes from ancestors and rows i, j, k (t,) of triplets -> the mean that `HIER` states, ().

    The gradient is computed along with it, in pieces that stay in cache: arrays (t, m) would not.
    """

    @staticmethod
    def forward(ctx, distances: Tensor, i: Tensor, j: Tensor, k: Tensor, tau: float, margin: float, generator):
        pairs = Pairs(distances, i, j, tau)
        low, high = pairs.choices(k, generator)
        nodes = torch.stack([i, j, k])
        to_low, to_high = distances[nodes, low], distances[nodes, high]  # (3, t)
        sign = distances.new_tensor([[1.0], [1.0], [-1.0]])
        hinges = F.relu(sign * (to_low - to_high) + margin) * (low != high)
        signs = sign * (hinges > 0)
        ctx.save_for_backward(pairs.gradient(k, low, high, signs, generator) / len(i))
        return hinges.sum() / len(i)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None, None, None, None, None, None


class Pairs:
    """Pairs (i, j), each once: with triplets drawn by replacement most come many times."""

    def __init__(self, distances: Tensor, i: Tensor, j: Tensor, tau: float):
        self.distances, self.logits, self.tau = distances, distances / -tau, tau
        both, self.of = (i * len(distances) + j).unique(return_inverse=True)  # row of each triplet's pair
        self.i, self.j = both // len(distances), both % len(distances)
        self.shared = torch.minimum(self.logits.index_select(0, self.i), self.logits.index_select(0, self.j))
        self.shares = self.shared.softmax(1)

    def triples(self, of: Tensor, k: Tensor) -> Tensor:
        return torch.minimum(self.shared.index_select(0, of), self.logits.index_select(0, k)).softmax(1)

    def choices(self, k: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Ancestors of i and j, and of i, j and k, each (t,)."""
        low, high = torch.empty_like(k), torch.empty_like(k)
        for rows in row_chunks(self.logits[:1].expand(len(k), -1)):
            low[rows] = choose(self.shares.index_select(0, self.of[rows]), generator)
            high[rows] = choose(self.triples(self.of[rows], k[rows]), generator)
        return low, high

    def gradient(self, k: Tensor, low: Tensor, high: Tensor, signs: Tensor, generator: torch.Generator) -> Tensor:
        """Of the sum of signs (3, t) * (distance to low - distance to high) of i, j and k, (n, m)."""
        active = signs.any(0).nonzero()[:, 0]
        of, k, low, high, signs = self.of[active], k[active], low[active], high[active], signs[:, active, None]
        i, j = self.i[of], self.j[of]
        total, of_pairs = torch.zeros_like(self.logits), torch.zeros_like(self.shared)  # by logits, before / -tau
        for rows in row_chunks(self.logits[:1].expand(len(k), -1)):
            at, third = of[rows], k[rows]
            slopes = self.distances.index_select(0, i[rows]).mul_(signs[0, rows])
            slopes.addcmul_(self.distances.index_select(0, j[rows]), signs[1, rows])
            slopes.addcmul_(self.distances.index_select(0, third), signs[2, rows])
            e_low, e_high = exponentials((2, *slopes.shape), slopes, generator)
            by_low = softmax_slope(soft_choice(self.shares.index_select(0, at), low[rows], e_low), slopes)
            by_high = softmax_slope(soft_choice(self.triples(at, third), high[rows], e_high), slopes)
            # The smaller logit gets the gradient, of two equal ones each half (2: both taken twice as large).
            smaller = (self.logits.index_select(0, third) - self.shared.index_select(0, at)).sign_()
            of_pairs.index_add_(0, at, by_low.mul_(2).sub_(by_high).addcmul_(by_high, smaller, value=-1))
            total.index_add_(0, third, by_high.addcmul_(by_high, smaller, value=-1), alpha=-1)
        for rows in row_chunks(of_pairs):
            left, right, slopes = self.i[rows], self.j[rows], of_pairs[rows]
            smaller = (self.logits.index_select(0, right) - self.logits.index_select(0, left)).sign_()
            total.index_add_(0, left, torch.addcmul(slopes, slopes, smaller), alpha=0.5)
            total.index_add_(0, right, torch.addcmul(slopes, slopes, smaller, value=-1), alpha=0.5)
        total.mul_(-0.5 / self.tau)
        for nodes, sign in zip((i, j, k), signs[:, :, 0]):
            total.index_put_((nodes, low), sign, accumulate=True)
            total.index_put_((nodes, high), -sign, accumulate=True)
        return total


def choose(shares: Tensor, generator: torch.Generator) -> Tensor:
    """Columns (t,) drawn by the shares (t, m): first a lane of columns equal modulo `lanes`, then one in it."""
    lanes = math.gcd(shares.shape[1], 32)
    shares = shares.view(len(shares), -1, lanes)
    lane = _pick(shares.sum(1), generator)
    in_lane = shares.gather(2, lane[:, None, None].expand(-1, shares.shape[1], 1))[:, :, 0]
    return _pick(in_lane, generator) * lanes + lane


def _pick(shares: Tensor, generator: torch.Generator) -> Tensor:
    ends = shares.cumsum(1)
    uniform = 1 - torch.rand(len(ends), 1, dtype=ends.dtype, device=ends.device, generator=generator)  # (0, 1]
    # The clamp is for NaN alone, which must come out as a loss of NaN.
    return torch.searchsorted(ends, uniform * ends[:, -1:]).clamp_max_(ends.shape[1] - 1)[:, 0]


def exponentials(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Exponential numbers, an even number of them, by 32 bits each: -log of uniform ones in (0, 1)."""
    bits = torch.empty(math.prod(shape) // 2, dtype=torch.int64, device=like.device)
    bits = bits.random_(-(2**63), None, generator=generator).view(torch.int32)
    return uniform(bits, like.dtype).log_().neg_().view(shape)


def uniform(bits: Tensor, dtype: torch.dtype) -> Tensor:
    """int32 -> (0, 1), both ends excluded after rounding to float32 too."""
    return bits.to(dtype).mul_(2.0**-32 * (1 - 2.0**-23)).add_(0.5)


def soft_choice(shares: Tensor, chosen: Tensor, e: Tensor) -> Tensor:
    """Softmax (t, m) of the noisy logits, given which is the largest, from exponential numbers e (t, m)."""
    chosen = chosen[:, None]
    first = e.gather(1, chosen)
    speeds = torch.addcdiv(first, e, shares).scatter_(1, chosen, first).reciprocal_()
    return speeds.div_(speeds.sum(1, keepdim=True))


def softmax_slope(soft: Tensor, slopes: Tensor) -> Tensor:
    """Gradient by the logits from that by the softmax. Overwrites `soft`."""
    return soft.mul_(slopes - torch.linalg.vecdot(soft, slopes)[:, None])
