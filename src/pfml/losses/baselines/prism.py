"""PRISM: Liu, Yu, Li, Shen, Gao, Ren, Xie, Cui and Miao, "Noise-resistant Deep Metric Learning with Ranking-based
Instance Selection", CVPR 2021 (arXiv 2103.16047), repository alibaba-edu/Ranking-based-Instance-Selection.

The memory is the cross-batch memory of Wang et al., CVPR 2020, as that repository has it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.ranges import Count, CountOrZero, Fraction, NonNegative

SAME = 1e-5  # a positive whose cosine is not below 1 by this is the image itself
STATE = ("memory", "memory_labels", "pointer", "centers", "known", "fresh", "thresholds", "filled", "steps")


@baseline("PRISM", acts="pair")
class Prism(nn.Module):
    """Contrastive loss of a batch with itself and with a memory of past embeddings, on images that seem clean.

    The probability that image i's label y is right is the softmax over classes of v_c.f_i at y, v_c the mean of the
    class's embeddings in the memory. The noise rate R fixes a threshold: the int(R B)-th smallest probability of a
    batch, averaged over the last `window` batches (the paper's smooth top-R). Images above it are kept; if there are
    none, all but the int(R B) worst, and the average starts anew. A label that the memory does not know counts as
    clean; until a threshold exists the int(R B) worst are left out.

    L = C(kept, kept) + weight * C(batch, memory, kept anchors only), C the sum over pairs of 1 - s of the same label
    and of s of different labels where s > margin, divided by the number of kept images or by B; s cosines.
    Then the kept images enter the memory, and those of them are the classes whose mean is taken anew in the next step.

    All that it remembers is in the state_dict, so that a resumed run goes on as if it had not stopped.

    Args:
        noise_rate: R in [0, 1), the fraction of wrong labels to expect; 0 keeps all.
        memory: images remembered, at least the batch.
        window: batches of the average.
        margin: see above, from 0.
        weight: of the memory's part.
        warmup: steps in which all images are kept.

    Raises:
        ValueError: an argument or a batch of the wrong kind, or a batch larger than the memory.
    """

    def __init__(
        self, num_classes: Count, embedding_dim: Count, noise_rate: Fraction = 0.2, memory: Count = 8192,
        window: Count = 30, margin: NonNegative = 0.5, weight: NonNegative = 1.0, warmup: CountOrZero = 0,
    ):  # fmt: skip
        super().__init__()
        self.sizes, self.window, self.warmup = (num_classes, embedding_dim), window, warmup
        self.noise_rate, self.margin, self.weight = noise_rate, margin, weight
        start = (
            torch.zeros(memory, embedding_dim), torch.full((memory,), -1), torch.tensor(0),
            torch.zeros(num_classes, embedding_dim), torch.zeros(num_classes, dtype=torch.bool),
            torch.zeros(num_classes, dtype=torch.bool), torch.zeros(window, dtype=torch.float64), torch.tensor(0),
            torch.tensor(0),
        )  # fmt: skip
        for name, value in zip(STATE, start):
            self.register_buffer(name, value)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar."""
        if len(labels) > len(self.memory):
            raise ValueError(f"memory={len(self.memory)} is smaller than the batch of {len(labels)}; expected a larger")
        units = F.normalize(embeddings, dim=1)
        rows, row_labels = self.remembered()
        total, keep = 0.0 * embeddings.sum(), torch.ones_like(labels, dtype=torch.bool)
        if len(rows):
            if self.steps >= self.warmup:
                keep = self.select(units.detach(), labels)
            pairs = self.contrast(units, labels, rows.clone(), row_labels, keep)
            total = total + self.weight * pairs / len(labels)
            self.fresh.zero_()
            self.fresh[labels[keep]] = True
        if keep.any():
            chosen, chosen_labels = units[keep], labels[keep]
            total = total + self.contrast(chosen, chosen_labels, chosen, chosen_labels) / len(chosen)
            self.remember(chosen.detach(), chosen_labels)
        self.steps += 1
        return total

    def contrast(self, a: Tensor, labels_a: Tensor, b: Tensor, labels_b: Tensor, keep: Tensor | None = None) -> Tensor:
        """Sum over the pairs of rows a (n, D), where `keep` (n,), and rows b (m, D)."""
        cosines, same = a @ b.T, labels_a[:, None] == labels_b
        positive, negative = same & (cosines < 1 - SAME), ~same & (cosines > self.margin)
        pairs = torch.where(positive, 1 - cosines, 0) + torch.where(negative, cosines, 0)
        return pairs.sum() if keep is None else pairs[keep].sum()

    @torch.no_grad()
    def select(self, units: Tensor, labels: Tensor) -> Tensor:
        """Which images (B,) to keep; moves the means and the threshold on."""
        self._update_centers()
        remove = int(self.noise_rate * len(labels))
        if not remove:
            return torch.ones_like(labels, dtype=torch.bool)
        clean = (units @ self.centers.T).softmax(1).gather(1, labels[:, None])[:, 0]
        clean = torch.where(self.known[labels], clean, 1.0)
        worst = clean.argsort(stable=True)[:remove]
        bound = clean[worst[-1]].double()
        if bound != 1:
            self.thresholds.copy_(self.thresholds.roll(-1))
            self.thresholds[-1] = bound
            self.filled.copy_((self.filled + 1).clamp_max(self.window))
        keep = clean.double() > self.thresholds.sum() / self.filled  # 0 / 0 where there is none: nothing is above
        if keep.any():
            return keep
        self.thresholds[:-1] = 0
        self.filled.clamp_max_(1)
        return torch.ones_like(labels, dtype=torch.bool).index_fill_(0, worst, False)

    def _update_centers(self) -> None:
        """Means of the classes that entered the memory last."""
        rows, row_labels = self.remembered()
        classes = self.fresh.nonzero()[:, 0]
        members = (classes[:, None] == row_labels).to(rows.dtype)
        self.centers[classes] = members @ rows / members.sum(1, keepdim=True)
        self.known[classes] = True

    def remembered(self) -> tuple[Tensor, Tensor]:
        """The memory's embeddings (m, D) and labels (m,); -1 where it was never filled."""
        count = len(self.memory) if self.memory_labels[-1] >= 0 else int(self.pointer)
        return self.memory[:count], self.memory_labels[:count]

    def remember(self, units: Tensor, labels: Tensor) -> None:
        """Into the next places; what does not fit goes into the last ones, and the places start anew."""
        fits = int(self.pointer) + len(labels) <= len(self.memory)
        first = int(self.pointer) if fits else len(self.memory) - len(labels)
        self.memory[first : first + len(labels)] = units.to(self.memory.dtype)
        self.memory_labels[first : first + len(labels)] = labels
        self.pointer.fill_(first + len(labels) if fits else 0)
