"""Proxy Anchor with non-isotropy: Roth, Vinyals and Akata, "Non-isotropy Regularization for Proxy-based Deep Metric
Learning", CVPR 2022, repository ExplainableML/NonIsotropicProxyDML.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.ranges import Count, CountOrZero, NonNegative, Positive, Range
from pfml.losses.common.relative_rate import learn_at


@baseline("PA+niV", acts="proxy")
class NonIsotropic(nn.Module):
    """L = weight * L_PA + mean of exp( |z|^2 / 2 - log |det dz/dx| ).

    z is the embedding x, at length 1, through an invertible flow (`CouplingFlow`) under the condition of its class's
    proxy, at length 1: up to a constant the second term is one over the density of x, so that a class fills its share
    of the sphere in a way of its own, and not alike in all directions around its proxy. The gradient reaches x, the
    flow and the proxies.

    L_PA is Proxy Anchor (Kim et al., CVPR 2020) but for its first mean, which is over images:
    mean over images j of log(1 + sum over images of its class of e^(-scale (s - margin))) + mean over all classes of
    log(1 + sum over images of others of e^(scale (s + margin))), s cosines with the class's proxy.

    Args:
        num_classes: N.
        embedding_dim: D, from 2.
        weight: of L_PA; CUB 0.0075, Cars 0.01, SOP 0.3.
        margin, scale: of L_PA.
        blocks: of the flow; 0 leaves L_PA and a constant.
        depth, width: of its networks.
        clamp: of the logarithm of its scales.
        flow_rate: its learning rate as a multiple of proxy_lr (authors: 50 and 4,000 times the network's; SOP 1 and
            4,000).

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    def __init__(
        self, num_classes: Count, embedding_dim: Annotated[int, Range(at_least=2)], weight: NonNegative = 0.01,
        margin: NonNegative = 0.1, scale: Positive = 32.0, blocks: CountOrZero = 5,
        depth: Annotated[int, Range(at_least=2)] = 8, width: Count = 128, clamp: Positive = 2.0,
        flow_rate: Positive = 0.0125,
    ):  # fmt: skip
        super().__init__()
        self.sizes = num_classes, embedding_dim
        self.weight, self.margin, self.scale = weight, margin, scale
        self.proxies = nn.Parameter(torch.randn(num_classes, 1, embedding_dim) / 8)
        self.flow = CouplingFlow(embedding_dim, embedding_dim, blocks, depth, width, clamp)
        learn_at(self.flow, flow_rate, "flow_rate")

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar."""
        units, proxies = F.normalize(embeddings, dim=1), F.normalize(self.proxies[:, 0], dim=1)
        latent, log_det = self.flow(units, proxies[labels])
        density = torch.exp(0.5 * latent.square().sum(1) - log_det).mean()
        return density + self.weight * self.proxy_anchor(units @ proxies.T, labels)

    def proxy_anchor(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """L_PA of cosines (B, N)."""
        own = F.one_hot(labels, self.sizes[0]).bool()
        zero = cosines.new_zeros(1, self.sizes[0])  # the 1 in the logarithm
        pull = (-self.scale * (cosines - self.margin)).masked_fill(~own, -torch.inf)
        push = (self.scale * (cosines + self.margin)).masked_fill(own, -torch.inf)
        positive, negative = (torch.cat([zero, part]).logsumexp(0) for part in (pull, push))
        return positive[labels].mean() + negative.mean()


class CouplingFlow(nn.Module):
    """A normalizing flow of GLOW coupling blocks (Kingma and Dhariwal, 2018) on vectors, as FrEIA 0.2 composes them:
    x (B, D) under a condition c (B, C) -> z (B, D) and log |det dz/dx| (B,).

    Each block reorders the axes by a random permutation, the same for every run (numpy's of seed 0, 1, ... as in FrEIA,
    kept in the state_dict), and splits them at round(D / 2) into a and b:
    a <- a * e^s(b, c) + t(b, c), then b <- b * e^s(a, c) + t(a, c), s = clamp * 0.636 atan(.).
    A network of `depth` linear layers, `width` wide with ReLU between them, gives s and t together.

    Args:
        dim: D, from 2.
        condition: C.
        blocks: how many; 0 leaves x as it is.
        depth: from 2.
    """

    def __init__(self, dim: int, condition: int, blocks: int, depth: int, width: int, clamp: float):
        super().__init__()
        self.clamp, self.first = clamp, round(dim * 0.5)
        second = dim - self.first
        orders = [np.random.RandomState(block).permutation(dim) for block in range(blocks)]
        self.register_buffer("orders", torch.from_numpy(np.array(orders, dtype=np.int64).reshape(blocks, dim)))
        self.to_first, self.to_second = (
            nn.ModuleList([network(passive + condition, 2 * active, depth, width) for _ in range(blocks)])
            for passive, active in ((second, self.first), (self.first, second))
        )

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(len(x))
        for order, to_first, to_second in zip(self.orders, self.to_first, self.to_second):
            a, b = x[:, order].split([self.first, x.shape[1] - self.first], dim=1)
            a, first = self._couple(a, to_first(torch.cat([b, condition], 1)))
            b, second = self._couple(b, to_second(torch.cat([a, condition], 1)))
            x, log_det = torch.cat([a, b], 1), log_det + first + second
        return x, log_det

    def _couple(self, active: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = found.chunk(2, dim=1)
        scale = self.clamp * 0.636 * torch.atan(scale)
        return scale.exp() * active + shift, scale.sum(1)


def network(inputs: int, outputs: int, depth: int, width: int) -> nn.Sequential:
    """`depth` linear layers with torch's start, ReLU between them."""
    sizes = [inputs, *[width] * (depth - 1), outputs]
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
