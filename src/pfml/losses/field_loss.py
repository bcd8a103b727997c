"""What the two losses of the paper share: proxies, switches and checks around a pair law.

The points of the field are the embeddings of the batch and the proxies, as directions in float64. The field
is summed in float32 at least, whatever precision the network runs in.
"""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor, nn

from pfml.losses.checks import check_batch, check_count, check_finite, check_option
from pfml.losses.field_kernel import PairLaw, field_energy
from pfml.losses.screen import Screen

REDUCTIONS = ("sum", "pair_mean", "anchor_mean")
PROXY_INITS = ("random", "kaiming", "data")
PROXY_PROXY = ("all", "repulsion", "none")


class _Direction(torch.autograd.Function):
    """x / |x| in float64: close pairs need the digits. The gradient saturates instead of overflowing."""

    @staticmethod
    def forward(ctx, vectors):
        length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True, dtype=torch.float64)
        length.masked_fill_(length == 0, math.inf)  # no direction: stays at 0 and feels no force
        unit = vectors / length
        ctx.save_for_backward(unit, length)
        ctx.dtype = vectors.dtype
        return unit

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        unit, length = ctx.saved_tensors
        along = torch.linalg.vecdot(grad, unit)[:, None]
        grad = torch.addcmul(grad, unit, along, value=-1).div_(length)
        if ctx.dtype != torch.float16:  # there a gradient scaler wants to see the overflow
            grad.clamp_(*(sign * torch.finfo(ctx.dtype).max for sign in (-1, 1)))
        return grad.to(ctx.dtype)


@contextlib.contextmanager
def full_precision():
    """No TF32 or bf16 in float32 products, also where the program allows it: their digits are distances."""
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before):
            backend.fp32_precision = precision


class FieldLoss(nn.Module):
    """Proxies, options and checks around a pair law; the two losses of the paper differ in the law only."""

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        proxies_per_class: int,
        law: PairLaw,
        *,
        proxy_init: str,
        reduction: str,
        proxy_proxy: str,
        normalize_proxies: bool,
        absent_proxies: bool,
    ):
        super().__init__()
        check_count("num_classes", num_classes, 1)
        check_count("embedding_dim", embedding_dim, 1)
        check_count("proxies_per_class", proxies_per_class, 0)
        check_option("proxy_init", proxy_init, PROXY_INITS)
        check_option("reduction", reduction, REDUCTIONS)
        check_option("proxy_proxy", proxy_proxy, PROXY_PROXY)
        check_option("normalize_proxies", normalize_proxies, (True, False))
        check_option("absent_proxies", absent_proxies, (True, False))
        self.num_classes, self.embedding_dim = num_classes, embedding_dim
        self.proxies_per_class, self.law = proxies_per_class, law
        self.proxy_init, self.reduction, self.proxy_proxy = proxy_init, reduction, proxy_proxy
        self.normalize_proxies, self.absent_proxies = normalize_proxies, absent_proxies
        self.proxies = nn.Parameter(torch.empty(num_classes, proxies_per_class, embedding_dim))
        # In the state dict, so that a loaded loss counts as initialised.
        self.register_buffer("proxies_ready", torch.tensor(proxy_init != "data" or proxies_per_class == 0))
        self._screen = Screen()
        self._randomise_proxies()

    @torch.no_grad()
    def _randomise_proxies(self) -> None:
        """Random directions. Only the direction acts; the length sets how far one optimiser step turns it."""
        if self.proxies.numel() == 0:
            return
        if self.proxy_init == "kaiming":
            nn.init.kaiming_normal_(self.proxies.view(-1, self.embedding_dim), mode="fan_out")
        else:
            nn.init.normal_(self.proxies, std=self._proxy_length() / math.sqrt(self.embedding_dim))

    def _proxy_length(self) -> float:
        return math.sqrt(self.embedding_dim) if self.normalize_proxies else 1.0

    @torch.no_grad()
    def initialise_proxies(self, embeddings: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> None:
        """Sets the proxies of each class to M randomly drawn embeddings of it.

        With replacement where it has fewer than M; a class without any keeps its random directions. The draw
        happens on the CPU, with `generator` if given.
        """
        check_batch(embeddings, labels, self.num_classes, self.embedding_dim, least=1)
        directions = _Direction.apply(embeddings.detach()).to(self.proxies.device, self.proxies.dtype)
        labels = labels.cpu()
        for j in labels.unique().tolist():
            members = (labels == j).nonzero()[:, 0]
            if len(members) >= self.proxies_per_class:
                drawn = torch.randperm(len(members), generator=generator)[: self.proxies_per_class]
            else:
                drawn = torch.randint(len(members), (self.proxies_per_class,), generator=generator)
            self.proxies[j] = directions[members[drawn].to(directions.device)] * self._proxy_length()
        self.proxies_ready.fill_(True)

    def forward(self, embeddings: Tensor, labels: Tensor, indices_tuple=None) -> Tensor:
        """embeddings (B, D) of any scale, labels (B,) integers in [0, num_classes) -> scalar energy.

        `indices_tuple`, which pytorch-metric-learning's trainers pass, is ignored: all pairs act.
        """
        check_batch(embeddings, labels, self.num_classes, self.embedding_dim, least=2)
        check_finite("proxies", self.proxies)
        if not self.proxies_ready:
            raise RuntimeError(
                'proxy_init="data", but the proxies have not been set: call '
                "initialise_proxies(embeddings, labels) on embeddings of the training set first"
            )
        with torch.autocast(embeddings.device.type, enabled=False), full_precision():
            return self._energy(embeddings, labels.to(embeddings.device, torch.int64))

    def _energy(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        dtype = torch.float64 if embeddings.dtype == torch.float64 else torch.float32
        proxies, present = self.proxies, torch.arange(self.num_classes, device=labels.device)
        if not self.absent_proxies:
            present = labels.unique()
            proxies = proxies[present]
        proxies = proxies.reshape(-1, self.embedding_dim)
        proxies = _Direction.apply(proxies) if self.normalize_proxies else proxies.double()
        points = torch.cat([_Direction.apply(embeddings), proxies])
        classes = torch.cat([labels, present.repeat_interleave(self.proxies_per_class)])
        energy = field_energy(
            points,
            classes,
            self.law,
            heads=len(embeddings),
            tail_attraction=self.proxy_proxy == "all",
            tail_repulsion=self.proxy_proxy != "none",
            dtype=dtype,
            screen=self._screen,
        )
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
            f"proxy_init={self.proxy_init}, proxy_proxy={self.proxy_proxy}"
        )
