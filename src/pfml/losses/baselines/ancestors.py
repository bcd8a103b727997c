"""HIER's lowest common ancestors: drawn by Gumbel-max, hinges on them, and the gradient through the soft choice.

Gumbel noise is -log e of an exponential number e, so softmax(log p + noise) is in proportion to 1 / T of the times
T = e / p at which independent clocks of rates p ring; the first to ring is the choice. It is column m with probability
p_m, at a time that is exponential of rate sum p = 1 whatever m is; the other clocks, which have no memory, ring e / p
later. So choices are drawn from p by uniform numbers, and the noise of all columns only where a gradient passes: the
joint distribution is that of Gumbel-max, for a fraction of its random numbers and logarithms.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pfml.losses.common.scratch import row_chunks


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
