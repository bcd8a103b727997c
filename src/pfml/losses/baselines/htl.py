"""HTL: Ge, Huang, Dong and Scott, "Deep Metric Learning with Hierarchical Triplet Loss", ECCV 2018 (arXiv 1810.06951).

There is no code of the authors. Formulas are from summaries of the paper; what they leave open is said below.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pfml.losses.common.describe import baseline
from pfml.losses.common.method import Method
from pfml.losses.common.ranges import Count, NonNegative, Range

FARTHEST = 4.0  # squared distance of opposite points


@baseline("HTL", pairs=True)
class HTL(Method):
    """L = 1 / (2 Z) * sum over all Z triplets of the batch of [d(a, p) - d(a, n) + margin(y_a, y_n)]+, d squared
    distances at length 1.

    margin(y, y') = margin + t(y, y') - s(y). A tree of the classes merges nodes with a mean squared distance below
    t_l = t_0 + l (4 - t_0) / levels; t(y, y') is the t_l of the first level l at which both classes are in one node,
    s(y) the mean squared distance within class y, t_0 the mean of s. Before each epoch from `warmup` on the tree is
    built from embeddings of all training images. Until then the margin is `first_margin` for all, and batches are those
    of train.sampler.

    With the tree a batch has batch / (together * images_per_class) classes at random, for each of them the
    together - 1 nearest classes, and images_per_class images of each. A class that comes twice has other images.

    Open, and chosen here: distances in L are squared, as those of the margin are; nodes merge by the mean over their
    pairs of classes (average linkage). The sizes are from memory, since no source gives them: the default of 16 levels
    and of the first margin alone are seen in code of others.

    Args:
        num_classes: N.
        embedding_dim: D.
        margin: beta of the paper.
        levels: L.
        together: m, classes that a batch has together, from 2.
        first_margin: of the epochs without a tree.
        warmup: their number.

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    def __init__(
        self, num_classes: Count, embedding_dim: Count, margin: NonNegative = 0.1, levels: Count = 16,
        together: Annotated[int, Range(at_least=2)] = 5, first_margin: NonNegative = 0.2, warmup: Count = 1,
    ):  # fmt: skip
        super().__init__()
        self.sizes, self.margin, self.levels = (num_classes, embedding_dim), margin, levels
        self.together, self.warmup = together, warmup
        self.register_buffer("margins", torch.full((num_classes, num_classes), float(first_margin)))
        self.register_buffer("nearest", torch.empty(0, dtype=torch.int64))  # (N, together), its own first

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar."""
        units = F.normalize(embeddings, dim=1)
        distances = (2 - 2 * units @ units.T).clamp_min(0)
        same = labels[:, None] == labels
        anchors, positives = (same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)).nonzero().T
        negative = ~same[anchors]  # (pairs, B)
        margins = self.margins[labels[anchors]][:, labels].to(distances.dtype)
        terms = (distances[anchors, positives][:, None] - distances[anchors] + margins).relu()
        return (terms * negative).sum() / (2 * negative.sum().clamp_min(1))

    # --- its part in a training

    def looks(self, epoch: int) -> bool:
        return epoch >= self.warmup

    @torch.no_grad()
    def look(self, epoch: int, embeddings: Tensor, labels: Tensor) -> None:
        """Build the tree from embeddings (n, D) and labels (n,)."""
        between, within = class_distances(embeddings, labels, self.sizes[0])
        heights = merging_heights(between, self.levels, min(float(within.mean()), FARTHEST - 1e-6))
        self.margins.copy_(self.margin + heights - within[:, None])
        self.nearest = between.fill_diagonal_(-1.0).argsort(dim=1, stable=True)[:, : self.together]

    def batches(
        self, labels: Tensor, batch: int, images_per_class: int, steps: int, seed: int, epoch: int, start: int
    ) -> Iterator[Tensor] | None:
        group = self.together * images_per_class
        if batch % group:
            raise ValueError(
                f"train.batch: expected a multiple of {group} (together x train.images_per_class), found {batch}"
            )
        if not len(self.nearest):
            return None
        return self._batches(labels.numpy(), batch // group, images_per_class, steps, [seed, epoch], start)

    def _batches(
        self, labels: np.ndarray, groups: int, images: int, steps: int, seed: list[int], start: int
    ) -> Iterator[Tensor]:
        members = {int(c): np.flatnonzero(labels == c) for c in np.unique(labels)}
        known, nearest = np.array(sorted(members)), self.nearest.cpu().numpy()
        for step in range(start, steps):
            rng = np.random.Generator(np.random.Philox([*seed, step, 0]))
            firsts = rng.choice(known, groups, replace=len(known) < groups)
            queues: dict[int, list[int]] = {}  # images of a class that the batch does not have yet
            drawn = []
            for first in firsts:
                near = [int(c) for c in nearest[first] if int(c) in members]
                for c in np.resize(near, self.together).tolist():
                    queue = queues.setdefault(c, [])
                    while len(queue) < images:
                        queue.extend(rng.permutation(members[c]))
                    drawn += queue[:images]
                    del queue[:images]
            yield torch.tensor(drawn)

    def _load_from_state_dict(self, state_dict, prefix, *arguments) -> None:
        if (saved := state_dict.get(f"{prefix}nearest")) is not None:
            self.nearest = self.nearest.new_empty(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def class_distances(embeddings: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mean squared distances between classes (N, N) and within each (N,), of embeddings (n, D) at length 1. Within a
    class of one image it is 0, and a class without images is as far from all as can be.
    """
    units = F.normalize(embeddings.double(), dim=1)
    counts = torch.bincount(labels, minlength=num_classes).double()
    sums = units.new_zeros(num_classes, units.shape[1]).index_add_(0, labels, units)
    means = sums / counts.clamp_min(1)[:, None]
    between = 2 - 2 * means @ means.T
    between[counts == 0], between[:, counts == 0] = FARTHEST, FARTHEST
    pairs = counts.square() - counts
    within = torch.where(pairs > 0, 2 * (counts.square() - sums.square().sum(1)) / pairs.clamp_min(1), 0.0)
    return between, within.clamp_min(0)


def merging_heights(between: Tensor, levels: int, lowest: float) -> Tensor:
    """The threshold (N, N) at which two classes are first in one node, of their mean squared distances (N, N).

    Args:
        lowest: threshold of level 0; the last, of level `levels`, is 4.
    """
    from scipy.cluster.hierarchy import average, cophenet
    from scipy.spatial.distance import squareform

    if len(between) < 2:
        return torch.zeros_like(between)
    condensed = squareform(((between + between.T) / 2).cpu().numpy(), checks=False)
    joined = torch.from_numpy(squareform(cophenet(average(condensed)))).to(between)
    step = (FARTHEST - lowest) / levels
    level = ((joined - lowest) / step).floor().clamp(0, levels - 1) + 1  # a class alone is level 0
    return (lowest + level * step).fill_diagonal_(0.0)
