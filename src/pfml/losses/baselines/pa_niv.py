"""Proxy Anchor with non-isotropy: Roth, Vinyals and Akata, "Non-isotropy Regularization for Proxy-based Deep Metric
Learning", CVPR 2022, repository ExplainableML/NonIsotropicProxyDML.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.baselines.coupling_flow import CouplingFlow
from pfml.losses.common.checks import check_batch, check_count, check_number
from pfml.losses.common.relative_rate import learn_at


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
        self, num_classes: int, embedding_dim: int, weight: float = 0.01, margin: float = 0.1, scale: float = 32.0,
        blocks: int = 5, depth: int = 8, width: int = 128, clamp: float = 2.0, flow_rate: float = 0.0125,
    ):  # fmt: skip
        super().__init__()
        for name, value in (("weight", weight), ("margin", margin)):
            check_number(name, value, at_least=0)
        for name, value in (("scale", scale), ("clamp", clamp)):
            check_number(name, value, above=0)
        self.sizes = check_count("num_classes", num_classes, 1), check_count("embedding_dim", embedding_dim, 2)
        check_count("blocks", blocks, 0), check_count("depth", depth, 2), check_count("width", width, 1)
        self.weight, self.margin, self.scale = weight, margin, scale
        self.proxies = nn.Parameter(torch.randn(num_classes, 1, embedding_dim) / 8)
        self.flow = CouplingFlow(embedding_dim, embedding_dim, blocks, depth, width, clamp)
        learn_at(self.flow, flow_rate, "flow_rate")

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar."""
        check_batch(embeddings, labels, *self.sizes, least=1)
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
