"""PFML: the potential field loss of Bhatnagar and Ahuja, CVPR 2025, arXiv 2405.18560, Eqs. 1-6.

Every embedding of the batch and every proxy is a charge on the unit sphere. With d = |r - z| (in excess form: the
constants that make the far or near field non-zero are removed, which changes no force)

    attraction, same class   (1)   delta^-alpha - max(d, delta)^-alpha
    repulsion, other class   (2)   min(d, delta_rep)^-alpha - delta_rep^-alpha
    class field              (3-5) Psi_j(r) = sum of (1) over class j + sum of (2) over all other classes
    total energy             (6)   U = sum_i Psi_{y_i}(z_i) + sum_j sum_k Psi_j(p_{j,k})

so U is the sum over all ordered pairs of distinct points of (batch embeddings, all N*M proxies). What the paper
leaves open is a switch here; docs/differences.md lists them with the evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.checks import check_batch, check_count, check_finite, check_number, check_option
from pfml.losses.field_kernel import PairLaw, Screen, field_energy

REDUCTIONS = ("sum", "pair_mean", "anchor_mean")
PROXY_INITS = ("random", "kaiming", "data")
PROXY_PROXY = ("all", "repulsion", "none")
ALPHA_ZERO = ("log", "linear")


@dataclass(frozen=True)
class PowerLaw:
    """Eqs. 1 and 2 as functions of d^2. At alpha = 0, where they are constant, one of two limits takes over:
    `log`, the limit of (d^-alpha - 1) / alpha (force 1/d), or `linear` (force 1)."""

    alpha: float
    delta: float
    delta_rep: float
    eps: float
    alpha_zero: str = "log"

    def attraction(self, d2: Tensor) -> tuple[Tensor, Tensor]:
        energy, slope = self._excess(d2, self.delta)
        return energy, slope

    def repulsion(self, d2: Tensor) -> tuple[Tensor, Tensor]:
        energy, slope = self._excess(d2, self.delta_rep)
        return energy.neg_(), slope.neg_()

    def _excess(self, d2: Tensor, radius: float) -> tuple[Tensor, Tensor]:
        """radius^-alpha - d^-alpha and its derivative with respect to d^2."""
        if self.alpha == 0 and self.alpha_zero == "log":
            return d2.log().mul_(0.5).sub_(math.log(radius)), (2 * d2).reciprocal_()
        if self.alpha == 0:
            d = d2.sqrt()
            return d - radius, (2 * d).reciprocal_()
        power = inverse_power(d2, self.alpha)
        slope = torch.div(power, d2).mul_(self.alpha / 2)
        return power.neg_().add_(radius**-self.alpha), slope


def inverse_power(d2: Tensor, alpha: float) -> Tensor:
    """(d^2)^(-alpha/2); a few multiplications where 2 * alpha is a small integer, else pow."""
    halves = 2 * alpha
    if halves != int(halves) or not 0 < halves <= 24:
        return d2.pow(-alpha / 2)
    whole, half = divmod(int(halves), 2)        # d^-alpha = (1/d)^whole * (1/d)^(half/2)
    squares, single = divmod(whole, 2)          # (1/d)^whole = (1/d^2)^squares * (1/d)^single
    inverse = d2.rsqrt()
    result = inverse.sqrt() if half else torch.ones_like(inverse)
    if single:
        result.mul_(inverse)
    if squares:
        inverse.square_()
    for _ in range(squares):
        result.mul_(inverse)
    return result


class _Direction(torch.autograd.Function):
    """x / |x| in float64 (close pairs need the digits); the gradient saturates instead of overflowing float32."""

    @staticmethod
    def forward(ctx, vectors):
        length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True, dtype=torch.float64)
        length.masked_fill_(length == 0, math.inf)  # a vector without a direction stays at 0 and feels no force
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


class FieldLoss(nn.Module):
    """Proxies, options and checks around a pair law; the two losses of the paper differ in the law only."""

    def __init__(self, num_classes: int, embedding_dim: int, proxies_per_class: int, law: PairLaw, *,
                 proxy_init: str, reduction: str, proxy_proxy: str, normalize_proxies: bool, absent_proxies: bool):
        super().__init__()
        check_count("num_classes", num_classes, 1)
        check_count("embedding_dim", embedding_dim, 1)
        check_count("proxies_per_class", proxies_per_class, 0)
        check_option("proxy_init", proxy_init, PROXY_INITS)
        check_option("reduction", reduction, REDUCTIONS)
        check_option("proxy_proxy", proxy_proxy, PROXY_PROXY)
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
    def initialise_proxies(self, embeddings: Tensor, labels: Tensor,
                           generator: torch.Generator | None = None) -> None:
        """Sets the proxies of each class to M randomly drawn embeddings of that class (with replacement where it
        has fewer than M); a class without any keeps its random directions. `generator` lives on the CPU."""
        check_batch(embeddings, labels, self.num_classes, self.embedding_dim, least=1)
        directions = F.normalize(embeddings.detach().to(self.proxies.device, self.proxies.dtype), dim=1)
        labels = labels.cpu()
        for j in labels.unique().tolist():
            members = (labels == j).nonzero()[:, 0]
            if len(members) >= self.proxies_per_class:
                drawn = torch.randperm(len(members), generator=generator)[:self.proxies_per_class]
            else:
                drawn = torch.randint(len(members), (self.proxies_per_class,), generator=generator)
            self.proxies[j] = directions[members[drawn].to(directions.device)] * self._proxy_length()
        self.proxies_ready.fill_(True)

    def forward(self, embeddings: Tensor, labels: Tensor, indices_tuple=None) -> Tensor:
        """embeddings (B, D) of any scale, labels (B,) integers -> scalar energy. `indices_tuple`, which
        pytorch-metric-learning's trainers pass, is ignored: the field acts between all pairs."""
        check_batch(embeddings, labels, self.num_classes, self.embedding_dim, least=2)
        check_finite("proxies", self.proxies)
        if not self.proxies_ready:
            raise RuntimeError('proxy_init="data", but the proxies have not been set: call '
                               "initialise_proxies(embeddings, labels) on embeddings of the training set first")
        with torch.autocast(embeddings.device.type, enabled=False):
            return self._energy(embeddings, labels.to(embeddings.device, torch.int64))

    def _energy(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        dtype = torch.float64 if embeddings.dtype == torch.float64 else torch.float32
        proxies, present = self.proxies, torch.arange(self.num_classes, device=labels.device)
        if not self.absent_proxies:
            present = labels.unique()
            proxies = proxies[present]
        proxies = proxies.reshape(-1, self.embedding_dim)
        points = torch.cat([_Direction.apply(embeddings),
                            _Direction.apply(proxies) if self.normalize_proxies else proxies.double()])
        classes = torch.cat([labels, present.repeat_interleave(self.proxies_per_class)])
        energy = field_energy(points, classes, self.law, heads=len(embeddings),
                              tail_attraction=self.proxy_proxy == "all",
                              tail_repulsion=self.proxy_proxy != "none", dtype=dtype, screen=self._screen)
        return (energy / self._divisor(len(embeddings), len(present))).to(dtype)

    def _divisor(self, batch: int, classes: int) -> int:
        """sum: 1. anchor_mean: the points. pair_mean: the ordered pairs that can act."""
        proxies = classes * self.proxies_per_class
        if self.reduction == "sum":
            return 1
        if self.reduction == "anchor_mean":
            return batch + proxies
        left_out = {"all": 0, "repulsion": classes * self.proxies_per_class * (self.proxies_per_class - 1),
                    "none": proxies * (proxies - 1)}[self.proxy_proxy]
        return (batch + proxies) * (batch + proxies - 1) - left_out

    def extra_repr(self) -> str:
        return (f"num_classes={self.num_classes}, embedding_dim={self.embedding_dim}, "
                f"proxies_per_class={self.proxies_per_class}, {self.law}, reduction={self.reduction}, "
                f"proxy_init={self.proxy_init}, proxy_proxy={self.proxy_proxy}")


def check_radii(delta: float, delta_rep: float | None, eps: float) -> float:
    """delta_rep, which is delta unless given."""
    check_number("delta", delta, above=0)
    delta_rep = delta if delta_rep is None else delta_rep
    check_number("delta_rep", delta_rep, above=0)
    check_number("eps", eps, above=0)
    if eps >= delta_rep:
        raise ValueError(f"eps={eps:g} is not below delta_rep={delta_rep:g}; expected a smaller distance floor, "
                         "else no pair repels")
    return float(delta_rep)


class PotentialFieldLoss(FieldLoss):
    """PFML. `loss(embeddings, labels)` is Eq. 6; `loss.proxies` (N, M, D) wants an optimiser of its own.

    alpha: decay exponent. delta: radius inside which attraction ends. delta_rep: radius beyond which repulsion ends
    (default delta). eps: distance below which repulsion is constant (the literal potential is unbounded).
    reduction: `sum` (Eq. 6), `pair_mean` or `anchor_mean`. proxy_init: `random` N(0, 1), `kaiming` (fan_out), `data`
    (call initialise_proxies first). proxy_proxy: which terms between proxies act, `all` (Eq. 6), `repulsion`, `none`.
    normalize_proxies: proxies on the unit sphere, or free points. absent_proxies: whether proxies of classes that
    the batch lacks act (Eq. 6). alpha_zero: what alpha = 0 means, `log` or `linear`.
    """

    def __init__(self, num_classes: int, embedding_dim: int, proxies_per_class: int = 15, alpha: float = 3.0,
                 delta: float = 0.2, delta_rep: float | None = None, proxy_init: str = "random", *,
                 reduction: str = "sum", proxy_proxy: str = "all", normalize_proxies: bool = True,
                 absent_proxies: bool = True, alpha_zero: str = "log", eps: float = 1e-3):
        check_number("alpha", alpha, at_least=0)
        check_option("alpha_zero", alpha_zero, ALPHA_ZERO)
        delta_rep = check_radii(delta, delta_rep, eps)
        law = PowerLaw(float(alpha), float(delta), delta_rep, float(eps), alpha_zero)
        super().__init__(num_classes, embedding_dim, proxies_per_class, law, proxy_init=proxy_init,
                         reduction=reduction, proxy_proxy=proxy_proxy, normalize_proxies=normalize_proxies,
                         absent_proxies=absent_proxies)
