"""What the two losses of the paper share: proxies, switches and checks around a pair law.

The points of the field are the embeddings of the batch and the proxies, as directions. The field is summed in
float32 at least, whatever precision the network runs in. With torch.distributed the batch is that of all ranks.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize

from pfml.losses.common.checks import check_batch, check_device, check_finite, check_nonzero
from pfml.losses.common.distributed import (
    Facts,
    Gather,
    align,
    check_shards,
    exchange,
    gather_rows,
    own_range,
    ranks,
    shard_sizes,
)
from pfml.losses.field.energy import Memory, field_energy
from pfml.losses.field.pair_law import PairLaw
from pfml.losses.field.proxies import ProxyInit, draw_members, random_proxies

Reduction = Literal["sum", "pair_mean", "anchor_mean"]
ProxyProxy = Literal["all", "repulsion", "none"]


_precision = threading.RLock()  # the settings belong to the whole process


@contextlib.contextmanager
def full_precision():
    """No TF32 or bf16 in float32 products, also where the program allows it: their digits are distances."""
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    with _precision:
        before = [backend.fp32_precision for backend in backends]
        try:
            for backend in backends:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, precision in zip(backends, before):
                backend.fp32_precision = precision


def uncompiled(method):
    """In a compiled program too the method runs as it is: a compiler would cut it into dozens of reordered pieces."""

    @functools.wraps(method)
    def run(*args, **kwargs):
        if torch.compiler.is_compiling():
            return torch.compiler.disable(method)(*args, **kwargs)
        return method(*args, **kwargs)

    return run


def refuse_second_derivative(grad: Tensor) -> None:
    """A hook of the energy: its gradient is formed with the value, and would count as constant."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the field loss has no second derivative: found create_graph=True; expected a backward pass without it "
            "(no gradient penalty on this loss)"
        )


class FieldLoss(nn.Module):
    """Proxies, options and checks around a pair law; the two losses of the paper differ in the law only.

    Their constructors say what each argument is and may be.
    """

    not_settings = ("eps", "gather", "shard_proxies")  # arguments that params.yaml does not set

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        proxies_per_class: int,
        law: PairLaw,
        *,
        proxy_init: ProxyInit,
        reduction: Reduction,
        proxy_proxy: ProxyProxy,
        normalize_proxies: bool,
        absent_proxies: bool,
        gather: Gather,
        shard_proxies: bool,
    ):
        super().__init__()
        if shard_proxies and gather == "off":
            raise ValueError('gather="off" with shard_proxies=True; expected "ddp" or "sum", which join the shards')
        self.num_classes, self.embedding_dim = num_classes, embedding_dim
        self.proxies_per_class, self.law = proxies_per_class, law
        self.proxy_init, self.reduction, self.proxy_proxy = proxy_init, reduction, proxy_proxy
        self.normalize_proxies, self.absent_proxies = normalize_proxies, absent_proxies
        self.gather, self.shard_proxies = gather, shard_proxies
        rank, size = ranks() if shard_proxies else (0, 1)
        self._shard_sizes = shard_sizes(num_classes, size)
        self.class_range = own_range(self._shard_sizes, rank)
        if size > 1:
            self._ddp_params_and_buffers_to_ignore = ["proxies"]  # DistributedDataParallel would copy rank 0's shard
        start = random_proxies(num_classes, proxies_per_class, embedding_dim, self._proxy_length(), proxy_init)
        self.proxies = nn.Parameter(start[slice(*self.class_range)].clone())
        # In the state dict, so that a loaded loss counts as initialized.
        self.register_buffer("proxies_ready", torch.tensor(proxy_init != "data" or proxies_per_class == 0))
        self._memory = Memory()

    def _proxy_length(self) -> float:
        return math.sqrt(self.embedding_dim) if self.normalize_proxies else 1.0

    @torch.no_grad()
    def initialize_proxies(self, embeddings: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> None:
        """Sets the proxies of each class to M randomly drawn embeddings of it.

        With replacement where it has fewer than M; a class without any keeps its random directions. The draw
        happens on the CPU, with `generator` if given. With torch.distributed each rank gives its own part of the
        embeddings, and rank 0 draws.
        """
        size = self._size()
        embeddings, labels = self._join(embeddings, labels, least=1, starting=True)
        check_nonzero("embeddings", embeddings)
        directions = normalize(embeddings.detach().double(), dim=1, eps=1e-300)
        directions = directions.to(self.proxies.device, self.proxies.dtype)
        present, drawn = draw_members(labels.cpu(), self.num_classes, self.proxies_per_class, generator)
        present, drawn = present.to(directions.device), drawn.to(directions.device)
        if size > 1:
            dist.broadcast(drawn, 0)
        start, stop = self.class_range
        own = (present >= start) & (present < stop)
        self.proxies[present[own] - start] = directions[drawn[own]] * self._proxy_length()
        if size > 1 and not self.shard_proxies:
            dist.broadcast(self.proxies.detach(), 0)  # also of the classes without embeddings
        self.proxies_ready.fill_(True)

    def __getattr__(self, name: str):
        if name == "initialise_proxies":
            raise AttributeError("initialise_proxies is called initialize_proxies now")
        return super().__getattr__(name)

    def full_proxies(self, rows: Tensor | None = None) -> Tensor:
        """The proxies of all classes (N, M, D), without gradient, on every rank; all ranks must call it.

        rows: joined instead, a tensor with a row for each class of `class_range`, such as an optimizer's moments.
        """
        return self._of_all_classes(self.proxies if rows is None else rows).detach()

    def _of_all_classes(self, rows: Tensor) -> Tensor:
        return rows if len(self._shard_sizes) == 1 else gather_rows(rows, self._shard_sizes)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        """A shard takes its classes out of the proxies of all classes, so that checkpoints fit any number of ranks."""
        key, whole = prefix + "proxies", (self.num_classes, self.proxies_per_class, self.embedding_dim)
        if key in state_dict and state_dict[key].shape == whole:
            state_dict = {**state_dict, key: state_dict[key][slice(*self.class_range)]}
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._memory.forget()

    def _save_to_state_dict(self, *args):
        """A checkpoint is a fresh start for the run that goes on too: it equals a resumed one to the bit."""
        super()._save_to_state_dict(*args)
        self._memory.forget()

    @uncompiled
    def forward(self, embeddings: Tensor, labels: Tensor, indices_tuple=None) -> Tensor:
        """embeddings (B, D) of any scale and precision, labels (B,) integers of any type in [0, num_classes) -> scalar
        energy, float32 (float64 for embeddings in float64).

        `indices_tuple`, which pytorch-metric-learning's trainers pass, is ignored: all pairs act. With
        torch.distributed the energy is that of the batches of all ranks, so all must call this; B may differ.
        """
        embeddings, labels = self._join(embeddings, labels, least=2)
        with torch.autocast(embeddings.device.type, enabled=False), full_precision():
            return self._energy(embeddings, labels)

    def _size(self) -> int:
        """Ranks whose batches make one field."""
        return 1 if self.gather == "off" else ranks()[1]

    def _join(self, embeddings: Tensor, labels: Tensor, least: int, starting: bool = False) -> tuple[Tensor, Tensor]:
        """The batch of all ranks, checked: embeddings and, on their device, int64 labels.

        `starting`: the proxies are still to come, so nothing is asked of them.
        """
        size = self._size()
        if size == 1:
            return embeddings, self._check(embeddings, labels, least, starting)

        checked = []

        def look() -> Facts:
            checked.append(self._check(embeddings, labels, 0, starting))
            return Facts.of(embeddings, f"{self} {self.proxies.dtype}", self.proxies)

        facts = exchange(look, self.proxies.device)
        counts = [int(theirs.count) for theirs in facts]
        if sum(counts) < least:
            raise ValueError(f"embeddings of all ranks hold a batch of {sum(counts)}; expected at least {least}")
        if self.shard_proxies:
            check_shards(facts)
        elif not starting:
            align(self.proxies, facts)
        labels = gather_rows(checked[0], counts)
        return gather_rows(embeddings, counts, scale=size if self.gather == "ddp" else 1), labels

    def _check(self, embeddings: Tensor, labels: Tensor, least: int, starting: bool) -> Tensor:
        """Refuses what one rank can see; the labels as `check_batch` returns them."""
        labels = check_batch(embeddings, labels, self.num_classes, self.embedding_dim, least)
        if self.shard_proxies and len(self._shard_sizes) != self._size():
            raise RuntimeError(
                f"shard_proxies=True, and the loss was built for {len(self._shard_sizes)} ranks, but there are "
                f"{self._size()}: build it after torch.distributed.init_process_group"
            )
        if starting:
            return labels
        check_device("embeddings", embeddings, "the loss's proxies", self.proxies)
        check_finite("proxies", self.proxies)
        if not self.proxies_ready:
            raise RuntimeError(
                'proxy_init="data", but the proxies have not been set: call '
                "initialize_proxies(embeddings, labels) on embeddings of the training set first"
            )
        return labels

    def _energy(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        proxies, present = self._of_all_classes(self.proxies), torch.arange(self.num_classes, device=labels.device)
        if not self.absent_proxies:
            present = labels.unique()
            proxies = proxies[present]
        energy = field_energy(
            embeddings,
            proxies.reshape(-1, self.embedding_dim),
            torch.cat([labels, present.repeat_interleave(self.proxies_per_class)]),
            self.law,
            normalize_proxies=self.normalize_proxies,
            proxy_attraction=self.proxy_proxy == "all",
            proxy_repulsion=self.proxy_proxy != "none",
            # Later steps could not write to arrays of an inference mode.
            memory=None if torch.is_inference_mode_enabled() else self._memory,
        )
        if energy.requires_grad:
            energy.register_hook(refuse_second_derivative)
        dtype = torch.float64 if embeddings.dtype == torch.float64 else torch.float32
        return (energy / self._divisor(len(embeddings), len(present))).to(dtype)

    def _divisor(self, batch: int, classes: int) -> int:
        """sum: 1. anchor_mean: the points. pair_mean: the ordered pairs that can act."""
        proxies = classes * self.proxies_per_class
        if self.reduction == "sum":
            return 1
        if self.reduction == "anchor_mean":
            return batch + proxies
        left_out = {
            "all": 0,
            "repulsion": classes * self.proxies_per_class * (self.proxies_per_class - 1),
            "none": proxies * (proxies - 1),
        }[self.proxy_proxy]
        return (batch + proxies) * (batch + proxies - 1) - left_out

    def extra_repr(self) -> str:
        return (
            f"num_classes={self.num_classes}, embedding_dim={self.embedding_dim}, "
            f"proxies_per_class={self.proxies_per_class}, {self.law}, reduction={self.reduction}, "
            f"proxy_init={self.proxy_init}, proxy_proxy={self.proxy_proxy}, "
            f"normalize_proxies={self.normalize_proxies}, absent_proxies={self.absent_proxies}, "
            f"gather={self.gather}, shard_proxies={self.shard_proxies}"
        )
