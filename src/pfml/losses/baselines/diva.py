"""DiVA: Milbich, Roth, Bharadhwaj, Sinha, Bengio, Ommer and Cohen, "DiVA: Diverse Visual Feature Aggregation for Deep
Metric Learning", ECCV 2020, repository Confusezius/ECCV2020_DiVA_MultiFeature_DML.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.draws import Draws
from pfml.losses.common.method import Method
from pfml.losses.common.ranges import Count, Fraction, NonNegative, Positive
from pfml.losses.common.relative_rate import learn_at
from pfml.losses.common.triplets import (
    Boundaries,
    distance_weighted,
    log_inverse_density,
    margin_energy,
    within_classes,
)

PARTS = ("discriminative", "self", "shared", "intra")  # a quarter of the embedding each
SELF = PARTS.index("self")
SEPARATED = ((1, 0), (2, 0), (3, 0))  # source and target of each adversary


class Heads(nn.Module):
    """Four linear layers side by side. Features (n, C) -> rows (n, D) in training mode; in evaluation mode embeddings
    (n, D), the parts at length 1 with the discriminative one times `test_weight`.

    Args:
        settings: of the loss.
    """

    def __init__(self, features: int, embedding_dim: int, settings: Mapping):
        super().__init__()
        if embedding_dim % len(PARTS):
            raise ValueError(f"model.embedding_dim: expected a multiple of {len(PARTS)} heads, found {embedding_dim}")
        self.parts = nn.ModuleList(nn.Linear(features, embedding_dim // len(PARTS)) for _ in PARTS)
        self.test_weight = settings["test_weight"]

    @staticmethod
    def width(embedding_dim: int) -> int:
        return embedding_dim

    def forward(self, features: Tensor) -> Tensor:
        rows = torch.cat([part(features) for part in self.parts], 1)
        return rows if self.training else joined(rows, self.test_weight)


def joined(rows: Tensor, test_weight: float) -> Tensor:
    """Rows (n, D) -> embeddings (n, D)."""
    first, *others = (F.normalize(part, dim=1) for part in rows.chunk(len(PARTS), 1))
    return torch.cat([test_weight * first, *others], 1)


@baseline("DiVA", pairs=True, head=Heads)
class DiVA(Method):
    """L = L_margin(discriminative) + self_weight L_DaNCE(self) + shared_weight L_margin(shared)
    + intra_weight L_margin(intra) + L_sep, each of a head of its own with D / 4 dimensions at length 1.

    L_margin: the margin loss with a learned boundary of each class, on one distance-weighted triplet an anchor. Those
    of the shared head follow labels that are permuted at random in each step, those of the intra head are drawn within
    classes. The boundary is that of the anchor's own label throughout.

    L_DaNCE: cross entropy of each image's similarity to its key, the self head of a second network on another view,
    against those to the keys in a memory, which are weighted by the inverse density of their distances and divided by
    the weights' sum over the batch, as in the published code (`per_query`: over the memory, its later option). The
    second network is a moving average of the first, in evaluation mode.

    L_sep = -separation * sum over (self, shared, intra) of the mean of (discriminative * R(source))^2 over images and
    dimensions, R a small network, at length 1. R makes it small; the reversed gradient makes it large for the heads.

    The loop of pfml.training gives keys, memory and moving average (pfml.losses.common.method). Without keys, as in a
    loop of your own that has none, L_DaNCE is left out.

    Args:
        num_classes: N.
        embedding_dim: D, a multiple of 4; the authors' 512.
        self_weight, shared_weight, intra_weight: authors CUB 0.3 (ResNet-50) and 0.1 (BN-Inception), Cars 0.15, SOP 0.2
            and 0.1.
        separation: CUB 1500 and 300, Cars 100, SOP 150.
        margin, beta: of L_margin, and where boundaries start.
        cutoff, upper_cutoff: distances below the first count as at it; a key beyond the second has the smallest weight.
        temperature: of L_DaNCE.
        memory: keys; authors 3,360, SOP 7,840.
        average: share that the second network keeps in a step.
        average_buffers: copy the running statistics of batch normalization to it too, which the code never does.
        per_query: see above.
        boundary_rate, regressor_rate: learning rates of the boundaries and of R as multiples of proxy_lr; authors 50
            times the network's, and the network's.
        test_weight: of the discriminative part beside the others' 1; authors CUB 0.5, Cars 0.25, SOP 1.

    Raises:
        ValueError: an argument or a batch of the wrong kind.
    """

    views = 2

    def __init__(
        self, num_classes: Count, embedding_dim: Count, self_weight: NonNegative = 0.3,
        shared_weight: NonNegative = 0.3, intra_weight: NonNegative = 0.3, separation: NonNegative = 1500.0,
        margin: NonNegative = 0.2, beta: Positive = 1.2, cutoff: Positive = 0.5, upper_cutoff: Positive = 1.4,
        temperature: Positive = 0.01, memory: Count = 3360, average: Fraction = 0.9, average_buffers: bool = False,
        per_query: bool = False, boundary_rate: Positive = 1.0, regressor_rate: Positive = 0.02,
        test_weight: NonNegative = 1.0,
    ):  # fmt: skip
        super().__init__()
        part = embedding_dim // len(PARTS)
        if embedding_dim % len(PARTS):
            raise ValueError(f"embedding_dim: expected a multiple of {len(PARTS)}, found {embedding_dim}")
        self.sizes, self.weights = (num_classes, embedding_dim), (self_weight, shared_weight, intra_weight)
        self.separation, self.margin, self.cutoff, self.upper_cutoff = separation, margin, cutoff, upper_cutoff
        self.temperature, self.average, self.average_buffers = temperature, average, average_buffers
        self.per_query, self.test_weight, self.remembered = per_query, test_weight, memory
        self.boundaries = Boundaries(3, num_classes, beta, boundary_rate)
        self.adversaries = nn.ModuleList(
            nn.Sequential(nn.Linear(part, 512), nn.ReLU(), nn.Linear(512, part)) for _ in SEPARATED
        )
        learn_at(self.adversaries, regressor_rate, "regressor_rate")
        self.draws = Draws()
        self.register_buffer("memory", torch.zeros(memory, part))
        self.register_buffer("filled", torch.tensor(0))
        self.register_buffer("pointer", torch.tensor(0))
        self.network, self.fresh = None, None

    def forward(self, rows: Tensor, labels: Tensor, keys: Tensor | None = None) -> Tensor:
        """Rows (B, D), labels (B,) in [0, N), keys (B, D / 4) of other views -> scalar."""
        parts = [F.normalize(part, dim=1) for part in rows.chunk(len(PARTS), 1)]
        discriminative, own, shared, intra = parts
        of_own, of_shared, of_intra = self.weights
        generator = self.draws.generator(rows.device)
        permuted = labels[torch.randperm(len(labels), generator=generator, device=labels.device)]
        triplets = (
            distance_weighted(discriminative, labels, generator, self.cutoff),
            distance_weighted(shared, permuted, generator, self.cutoff),
            within_classes(labels, generator),
        )
        energies = [
            margin_energy(units, drawn, beta[labels], self.margin)
            for units, drawn, beta in zip((discriminative, shared, intra), triplets, self.boundaries.beta)
        ]
        total = energies[0] + of_shared * energies[1] + of_intra * energies[2] + self.separate(parts)
        if keys is None:
            return total
        keys = F.normalize(keys, dim=1).to(own.dtype)
        self.fresh = keys
        return total + of_own * self.contrast(own, keys)

    def contrast(self, queries: Tensor, keys: Tensor) -> Tensor:
        """L_DaNCE of queries and keys (B, D / 4)."""
        others = self.memory[: int(self.filled)].to(queries.dtype)
        similar = queries @ others.T
        with torch.no_grad():
            weights = self.memory_weights((2 - 2 * similar).clamp_min(self.cutoff**2).sqrt(), queries.shape[1])
        own = (queries * keys).sum(1, keepdim=True)
        logits = torch.cat([own, weights * similar], 1) / self.temperature
        return F.cross_entropy(logits, torch.zeros(len(queries), dtype=torch.int64, device=queries.device))

    def memory_weights(self, distances: Tensor, dim: int) -> Tensor:
        """Distances (B, J) of queries and remembered keys -> weights (B, J)."""
        if not distances.shape[1]:
            return distances
        log = log_inverse_density(distances, dim)
        raw = (log - (log.amax(1, keepdim=True) if self.per_query else log.max())).exp()
        raw = raw.masked_fill(distances > self.upper_cutoff, 0.0).clamp_min(torch.finfo(torch.float32).tiny)
        return raw / raw.sum(1 if self.per_query else 0, keepdim=True)

    def separate(self, parts: list[Tensor]) -> Tensor:
        """L_sep of parts (B, D / 4)."""
        reversed_parts = [F.normalize(Reversed.apply(part), dim=1) for part in parts]
        total = 0.0
        for adversary, (source, target) in zip(self.adversaries, SEPARATED):
            guess = F.normalize(adversary(reversed_parts[source]), dim=1)
            total = total + (reversed_parts[target] * guess).square().mean()
        return -self.separation * total

    # --- its part in a training

    def attach(self, model: nn.Module) -> None:
        self.network = copy.deepcopy(model).requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> DiVA:
        super().train(mode)
        if self.network is not None:
            self.network.eval().head.train()  # whose rows it is asked for
        return self

    @torch.no_grad()
    def keys(self, images: Tensor) -> Tensor:
        """Keys (n, D / 4) of images (n, 3, h, w)."""
        rows = self.network(images.contiguous(memory_format=torch.channels_last))
        return rows.chunk(len(PARTS), 1)[SELF]

    @torch.no_grad()
    def remember(self, keys: Tensor) -> None:
        """Put keys (n, D / 4) in the places of the oldest."""
        count = len(self.memory)
        keys = F.normalize(keys, dim=1)[-count:].to(self.memory.dtype)
        places = (self.pointer + torch.arange(len(keys), device=keys.device)) % count
        self.memory[places] = keys
        self.pointer.copy_((self.pointer + len(keys)) % count)
        self.filled.copy_((self.filled + len(keys)).clamp_max(count))

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        for kept, now in zip(self.network.parameters(), model.parameters()):
            kept.lerp_(now, 1 - self.average)
        if self.average_buffers:
            for kept, now in zip(self.network.buffers(), model.buffers()):
                kept.copy_(now)
        if self.fresh is not None:
            self.remember(self.fresh)
            self.fresh = None

    def embedding(self, rows: Tensor) -> Tensor:
        return joined(rows, self.test_weight)


class Reversed(torch.autograd.Function):
    """The identity, whose gradient has the other sign (Ganin and Lempitsky, ICML 2015)."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return -gradient
