"""Multi-Similarity with DAS: Liu, Huang, Zhuang, Yang, Tan and Wang, "Densely-Anchored Sampling for Deep Metric
Learning", ECCV 2022 (arXiv 2208.00119), repository lizhaoliu-Lec/DAS.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.draws import Draws
from pfml.losses.common.ranges import Count, CountOrZero, NonNegative, Positive, Range


@baseline("MS + DAS", acts="pair", pairs=True)
class MultiSimilarityDAS(nn.Module):
    """Multi-Similarity (Wang et al., CVPR 2019) over the batch and embeddings made from it.

    `produced` times, each embedding f of class y, at length 1, becomes normalize(s * f + shift_scale * t): s scales the
    `scaled` channels that were most often among the largest of class y by random factors in [scale_low, scale_high];
    t is a random one of the class's last `bank` differences between two of its embeddings. Made embeddings have no
    gradient if `detach`.

    Over all of them, for each anchor with positives P whose cosine is below the largest negative's + epsilon and
    negatives N above the smallest positive's - epsilon, both not empty:
    log(1 + sum over P of e^(-alpha (s - base))) / alpha + log(1 + sum over N of e^(beta (s - base))) / beta, the mean
    over these anchors.

    Counts and differences are in the state_dict (N * D and N * bank * D numbers: 23 and 232 MB on SOP at D 512).

    Args:
        alpha, beta, base, epsilon: see above.
        produced, scaled, scale_low, scale_high, bank, shift_scale, detach: see above.

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    def __init__(
        self, num_classes: Count, embedding_dim: Count, alpha: Positive = 2.0, beta: Positive = 40.0,
        base: float = 0.5, epsilon: NonNegative = 0.1, produced: CountOrZero = 3, scaled: CountOrZero = 4,
        scale_low: Positive = 0.99, scale_high: Annotated[float, Range(at_least="scale_low")] = 1.01, bank: Count = 10,
        shift_scale: NonNegative = 0.01, detach: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.sizes = num_classes, embedding_dim
        self.produced, self.bank, self.scaled = produced, bank, min(scaled, embedding_dim)
        self.alpha, self.beta, self.base, self.epsilon = alpha, beta, base, epsilon
        self.scale_low, self.scale_high, self.shift_scale, self.detach = scale_low, scale_high, shift_scale, detach
        self.register_buffer("frequencies", torch.zeros(num_classes, embedding_dim, dtype=torch.int32))
        self.register_buffer("differences", torch.zeros(num_classes, bank, embedding_dim))
        self.register_buffer("pointers", torch.zeros(num_classes, dtype=torch.int64))
        self.draws = Draws()

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar; 0 if no anchor has pairs."""
        units = F.normalize(embeddings, dim=1)
        self.remember(units.detach(), labels)
        everything = torch.cat([units, *self.produce(units, labels)])
        return self.multi_similarity(everything, labels.repeat(1 + self.produced))

    def multi_similarity(self, units: Tensor, labels: Tensor) -> Tensor:
        cosines, same = units @ units.T, labels[:, None] == labels
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        known = cosines.detach()
        hardest_positive = known.masked_fill(~same | own, torch.inf).amin(1, keepdim=True)
        hardest_negative = known.masked_fill(same, -torch.inf).amax(1, keepdim=True)
        positive = same & ~own & (known - self.epsilon < hardest_negative)
        negative = ~same & (known + self.epsilon > hardest_positive)
        anchors = positive.any(1) & negative.any(1)
        if not anchors.any():
            return 0.0 * units.sum()
        pull = (-self.alpha * (cosines - self.base)).masked_fill(~positive, -torch.inf)[anchors]
        push = (self.beta * (cosines - self.base)).masked_fill(~negative, -torch.inf)[anchors]
        terms = F.softplus(pull.logsumexp(1)) / self.alpha + F.softplus(push.logsumexp(1)) / self.beta
        return terms.mean()

    @torch.no_grad()
    def remember(self, units: Tensor, labels: Tensor) -> None:
        """Count the largest channels of each class and keep its latest differences."""
        largest = units.topk(self.scaled, dim=1).indices
        for label in labels.unique().tolist():
            members = labels == label
            self.frequencies[label] += largest[members].flatten().bincount(minlength=units.shape[1]).int()
            mine = units[members]
            pairs = (mine[:, None] - mine[None]).flatten(0, 1)
            self._enqueue(label, pairs[pairs.abs().sum(1) > 0])

    def _enqueue(self, label: int, rows: Tensor) -> None:
        """Rows (q, D) into the class's ring. Of more than it holds the last fill it, and the pointer stays."""
        rows, count = rows.to(self.differences.dtype), len(rows)
        if count > self.bank:
            self.differences[label] = rows[-self.bank :]
            return
        places = (self.pointers[label] + torch.arange(count, device=rows.device)) % self.bank
        self.differences[label, places] = rows
        after = int(self.pointers[label]) + count
        self.pointers[label] = after if after <= self.bank else after - self.bank

    def produce(self, units: Tensor, labels: Tensor) -> list[Tensor]:
        """`produced` tensors (B, D) of length-1 rows."""
        if not self.produced:
            return []
        generator = self.draws.generator(units.device)
        source = units.detach() if self.detach else units
        channels = self.frequencies[labels].argsort(dim=1, descending=True, stable=True)[:, : self.scaled]
        bank = self.differences[labels].to(units.dtype)  # (B, bank, D)
        usable = bank.abs().sum(2) > 0
        made = []
        for _ in range(self.produced):
            draw = torch.rand(len(labels), self.scaled + 1, generator=generator, device=units.device, dtype=units.dtype)
            factors = self.scale_low + (self.scale_high - self.scale_low) * draw[:, 1:]
            moved = source.scatter(1, channels, source.gather(1, channels) * factors)
            wanted = (draw[:, :1] * usable.sum(1, keepdim=True)).long()
            chosen = usable & (usable.cumsum(1) - 1 == wanted)  # one a row, or none where the ring is empty
            made.append(F.normalize(moved + self.shift_scale * (bank * chosen[:, :, None]).sum(1), dim=1))
        return made
