"""ProxyGML: Zhu, Yang, Deng and Liu, "Fewer is More: A Deep Graph Metric Learning Perspective Using Fewer Proxies",
NeurIPS 2020 (arXiv 2010.13636), repository YuehuaZhu/ProxyGML.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.ranges import Count, NonNegative, Range


@baseline("ProxyGML", acts="proxy")
class ProxyGML(nn.Module):
    """Classes by the cosines of an image's nearest proxies, its own class's always among them.

    Of the N M proxies each image keeps the ceil(ratio N M) with the largest cosines, own ones first. The logit of a
    class is the sum of its kept cosines; the softmax runs over classes with a logit other than 0:
    L = mean of -log( e^z_y / (1e-8 + sum of e^z_c) + 1e-20 ) + weight * mean over proxies of the cross entropy of
    their own cosines summed by class.

    Args:
        proxies_per_class: M; CUB and Cars 12, SOP 1.
        ratio: in (0, 1].
        weight: of the proxies' own term; SOP 0.

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    def __init__(
        self, num_classes: Count, embedding_dim: Count, proxies_per_class: Count = 12,
        ratio: Annotated[float, Range(above=0, at_most=1)] = 0.05, weight: NonNegative = 0.3,
    ):  # fmt: skip
        super().__init__()
        self.sizes, count = (num_classes, embedding_dim), num_classes * proxies_per_class
        self.kept, self.weight = math.ceil(ratio * count), weight
        bound = 1 / math.sqrt(count)  # kaiming_uniform with a = sqrt(5) of the authors' (D, N M)
        self.proxies = nn.Parameter(torch.empty(num_classes, proxies_per_class, embedding_dim).uniform_(-bound, bound))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar."""
        classes, per_class, _ = self.proxies.shape
        units = F.normalize(self.proxies, dim=2).flatten(0, 1)
        owner = torch.arange(classes, device=labels.device).repeat_interleave(per_class)
        cosines = F.normalize(embeddings, dim=1) @ units.T
        nearest = (cosines.detach() + 4.0 * (labels[:, None] == owner)).topk(self.kept, dim=1).indices
        kept = torch.zeros_like(cosines).scatter(1, nearest, cosines.gather(1, nearest))
        logits = kept.unflatten(1, (classes, per_class)).sum(2)
        weights = torch.exp(logits) * (logits != 0)
        right = weights.gather(1, labels[:, None])[:, 0] / (1e-8 + weights.sum(1))
        loss = -torch.log(right + 1e-20).mean()
        if not self.weight:
            return loss
        among = (units @ units.T).unflatten(1, (classes, per_class)).sum(2)
        return loss + self.weight * F.cross_entropy(among, owner)
