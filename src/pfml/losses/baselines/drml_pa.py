"""DRML-PA: Zheng, Zhang, Lu and Zhou, "Deep Relational Metric Learning", ICCV 2021, repository zbr17/DRML."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.method import Method
from pfml.losses.common.ranges import Count, NonNegative, Positive

NODES = 4


class Relations(nn.Module):
    """Four nodes v_k from the features, and the embedding z that joins each with what the others send it.

    Node v_k, D / 4 long at length 1, is a linear layer of the k-th quarter f_k of the features. A decoder rebuilds f_k
    from it; an image belongs to the node with the smallest error. Scores s_ij = relu(linear(A_i - B_j)) of edge ends A
    and B, linear layers of f, are divided by their sum over i; u_j = sum over i of s_ij v_i, and o_j is a linear layer
    of [v_j; u_j], which starts as v_j. z is o_1 ... o_4 side by side. Decoders and edges see f and v without a gradient
    to them.

    Features (n, C) -> rows (n, 2 D + 2) in training mode: z, the nodes, the mean error, the number of the image's node.
    In evaluation mode z (n, D).

    With `paper`, as the paper is said to have it: each node and each decoder is of all features, the error is a norm,
    scores are of A_j - B_i, and the loss of z reaches neither features nor nodes.

    Args:
        settings: of the loss.
    """

    def __init__(self, features: int, embedding_dim: int, settings: Mapping):
        super().__init__()
        for key, value in (("embedding_dim", embedding_dim), ("features", features)):
            if value % NODES:
                raise ValueError(f"model.{key}: expected a multiple of {NODES} nodes, found {value}")
        self.paper, dim = settings["paper"], embedding_dim // NODES
        wide = features if self.paper else features // NODES
        self.nodes, self.sources, self.targets = (_linears(wide, dim) for _ in range(3))
        self.decoders = _linears(dim, wide)
        self.score = _kaiming(nn.Linear(dim, 1))
        self.integrator = nn.Linear(2 * dim, dim)
        with torch.no_grad():
            self.integrator.weight.copy_(torch.eye(dim, 2 * dim))
            self.integrator.bias.zero_()

    @staticmethod
    def width(embedding_dim: int) -> int:
        return 2 * embedding_dim + 2

    def forward(self, features: Tensor) -> Tensor:
        pieces = [features] * NODES if self.paper else features.chunk(NODES, 1)
        nodes = torch.stack([F.normalize(node(f), dim=1) for node, f in zip(self.nodes, pieces)], 1)  # (n, 4, D / 4)
        errors = torch.stack([self.error(*pair) for pair in zip(self.decoders, nodes.unbind(1), pieces)], 1)
        sources, targets = (
            torch.stack([end(f.detach()) for end, f in zip(ends, pieces)], 1) for ends in (self.sources, self.targets)
        )
        apart = sources[:, :, None] - targets[:, None]  # (n, i, j, D / 4)
        if self.paper:
            apart = apart.transpose(1, 2)
        scores = self.score(apart)[..., 0].relu()
        scores = scores / scores.sum(1, keepdim=True).clamp_min(1e-12)
        sent_from = nodes.detach() if self.paper else nodes
        sent = scores.transpose(1, 2) @ sent_from  # (n, j, D / 4)
        z = self.integrator(torch.cat([sent_from, sent], 2)).flatten(1)
        if not self.training:
            return z
        return torch.cat([z, nodes.flatten(1), errors.mean(1, keepdim=True), errors.argmin(1, keepdim=True)], 1)

    def error(self, decoder: nn.Module, node: Tensor, piece: Tensor) -> Tensor:
        """How badly a decoder rebuilds a piece (n, C / 4) from its node (n, D / 4): (n,)."""
        apart = decoder(node.detach()) - piece.detach()
        return (apart.square().sum(1) + 1e-12).sqrt() if self.paper else apart.square().mean(1)


@baseline("DRML-PA", head=Relations)
class DRML(Method):
    """L = sum over k of PA(nodes v_k of the images of node k; Q_k) + whole * PA(z; Q) + rebuild * mean error.

    PA is Proxy Anchor (Kim et al., CVPR 2020) with proxies of its own, Q_k (N, D / 4) and Q (N, D): the mean over
    classes in the batch of log(1 + sum over their images of e^(-scale (s - margin))) + the mean over all classes of
    log(1 + sum over images of others of e^(scale (s + margin))), s cosines. A node without images adds nothing.

    Args:
        num_classes: N.
        embedding_dim: D, a multiple of 4; the authors' 512.
        margin, scale: of PA; the authors' 0.2 and 64, at first 0.1 and 32.
        whole, rebuild: weights; the authors' 10 and 1, at first 1 and 1.
        paper: the head as the paper is said to have it (see Relations); the code's is the one with a published command.

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    def __init__(
        self, num_classes: Count, embedding_dim: Count, margin: NonNegative = 0.2, scale: Positive = 64.0,
        whole: NonNegative = 10.0, rebuild: NonNegative = 1.0, paper: bool = False,
    ):  # fmt: skip
        super().__init__()
        if embedding_dim % NODES:
            raise ValueError(f"embedding_dim: expected a multiple of {NODES}, found {embedding_dim}")
        self.sizes = num_classes, Relations.width(embedding_dim)
        self.margin, self.scale, self.whole, self.rebuild = margin, scale, whole, rebuild
        self.proxies = nn.Parameter(torch.empty(num_classes, 1, embedding_dim))
        self.node_proxies = nn.Parameter(torch.empty(NODES, num_classes, embedding_dim // NODES))
        nn.init.kaiming_uniform_(self.proxies[:, 0], a=5**0.5)
        for proxies in self.node_proxies:
            nn.init.kaiming_normal_(proxies, a=5**0.5)

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Rows (B, 2 D + 2), labels (B,) in [0, N) -> scalar."""
        z, nodes, errors, assigned = rows.split([*[rows.shape[1] // 2 - 1] * 2, 1, 1], 1)
        total = self.whole * self.proxy_anchor(z, labels, self.proxies[:, 0]) + self.rebuild * errors.mean()
        for k, (node, proxies) in enumerate(zip(nodes.chunk(NODES, 1), self.node_proxies)):
            own = assigned[:, 0] == k
            if own.any():
                total = total + self.proxy_anchor(node[own], labels[own], proxies)
        return total

    def proxy_anchor(self, embeddings: Tensor, labels: Tensor, proxies: Tensor) -> Tensor:
        """PA of embeddings (b, d) and proxies (N, d)."""
        cosines = F.normalize(embeddings, dim=1) @ F.normalize(proxies, dim=1).T
        own = F.one_hot(labels, self.sizes[0]).bool()
        one = cosines.new_zeros(1, self.sizes[0])  # the 1 in the logarithm
        pull = (-self.scale * (cosines - self.margin)).masked_fill(~own, -torch.inf)
        push = (self.scale * (cosines + self.margin)).masked_fill(own, -torch.inf)
        positive, negative = (torch.cat([one, part]).logsumexp(0) for part in (pull, push))
        return positive[own.any(0)].mean() + negative.mean()

    def embedding(self, rows: Tensor) -> Tensor:
        return rows[:, : rows.shape[1] // 2 - 1]


def _linears(before: int, after: int) -> nn.ModuleList:
    return nn.ModuleList(_kaiming(nn.Linear(before, after)) for _ in range(NODES))


def _kaiming(linear: nn.Linear) -> nn.Linear:
    nn.init.kaiming_normal_(linear.weight, mode="fan_out")
    nn.init.zeros_(linear.bias)
    return linear
