"""The energy of a field (Eqs. 1-6 and 8) as one differentiable function: exact, and linear in memory.

A field is a sum of a function of the distance over pairs of points. In excess form almost all pairs are exactly
zero, so the sum has two parts: attraction, which lives inside a class, on class blocks in float64 (here; a class
is small), and repulsion, which lives below delta_rep, on tiles or lists of pairs (pfml.losses.field.repulsion). Value
and gradient are formed together in the forward pass; nothing of size n^2 is kept.

Points are directions in float64, made from vectors of any precision: close pairs need the digits.
"""

from __future__ import annotations

import math
from threading import Lock

import torch
from torch import Tensor

from pfml.losses.common.scratch import Scratch, row_chunks
from pfml.losses.field.field_gpu import fused
from pfml.losses.field.neighbours import Neighbours
from pfml.losses.field.pair_law import PairLaw, squared_radius
from pfml.losses.field.repulsion import Repulsion, tile_side

BLOCK_ELEMENTS = 2**18  # elements of the points of classes that are done together


class Memory:
    """What one loss keeps from step to step. It saves time and decides nothing; a copy starts empty."""

    def __init__(self):
        self.scratch = Scratch()
        self.neighbours = Neighbours(self.scratch)
        self.lock = Lock()  # replicas of one loss in several threads share its memory

    def forget(self) -> None:
        """Start anew at the next step."""
        with self.lock:
            self.neighbours.forget()

    def __reduce__(self):
        return Memory, ()


def field_energy(
    embeddings: Tensor,
    proxies: Tensor,
    classes: Tensor,
    law: PairLaw,
    *,
    normalize_proxies: bool = True,
    proxy_attraction: bool = True,
    proxy_repulsion: bool = True,
    memory: Memory | None = None,
) -> Tensor:
    """Sum of the pair energies over all ordered pairs of distinct points, as a float64 scalar.

    The points are the directions of `embeddings` (B, D) and those of `proxies` (P, D), or the proxies themselves if
    not `normalize_proxies`; classes (B + P,) int64. Attraction and repulsion among proxies can be left out. A
    `memory`, kept by the caller from step to step, saves time.
    """
    options = normalize_proxies, proxy_attraction, proxy_repulsion
    return _FieldEnergy.apply(embeddings, proxies, classes, law, options, memory or Memory())


class _FieldEnergy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, embeddings, proxies, classes, law, options, memory):
        with memory.lock:
            energy, *grads = _energy_and_gradients(embeddings, proxies, classes, law, options, memory)
        ctx.dtypes = embeddings.dtype, proxies.dtype
        ctx.save_for_backward(*grads)
        return energy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        grads = ((grad_output * grad).to(dtype) for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes))
        # In float16 a gradient scaler wants to see the overflow.
        return (*(grad if grad.dtype == torch.float16 else _saturated(grad) for grad in grads), None, None, None, None)


def _energy_and_gradients(embeddings, proxies, classes, law, options, memory) -> tuple[Tensor, Tensor, Tensor]:
    """The energy in float64, and its gradients in float64 where the embeddings are, else in float32."""
    normalize_proxies, attraction, repulsion = options
    heads, (n, D) = len(embeddings), (len(classes), embeddings.shape[1])
    device = embeddings.device
    points = memory.scratch("points", (n, D), torch.float64, device)
    points[:heads], points[heads:] = embeddings, proxies
    length = torch.linalg.vector_norm(points, dim=1, keepdim=True)
    scale = 1.0 if normalize_proxies or heads == n else max(1.0, float(length[heads:].max()))
    length.masked_fill_(length == 0, math.inf)  # no direction: stays at 0 and feels no force
    directed = n if normalize_proxies else heads
    points[:directed] /= length[:directed]

    grad = memory.scratch("grad", (n, D), torch.float64, device).zero_()
    precision = torch.float64 if embeddings.dtype == torch.float64 else torch.float32
    grads = torch.empty((n, D), dtype=precision, device=device)
    # Until the gradients come, their place holds the points in float32.
    centred = grads if precision == torch.float32 else memory.scratch("centred", (n, D), torch.float32, device)

    def by_torch(grad: Tensor, memory: Memory) -> Tensor:
        energy = attract(points, classes, law, grad, heads, attraction)
        pairs = Repulsion(points, classes, law, grad, precision, centred, memory.scratch, memory.neighbours)
        return energy + pairs.run(heads, repulsion, scale)

    energy = None
    if precision == torch.float32:
        by_kernel = points, classes, law, grad, heads, attraction, repulsion, centred
        energy = fused(*by_kernel, by_torch=lambda grad: by_torch(grad, Memory()))
    if energy is None:
        energy = by_torch(grad, memory)

    for rows in row_chunks(grad):
        own = slice(rows.start, min(rows.stop, directed))
        along = torch.linalg.vecdot(grad[own], points[own])[:, None]
        grad[own].addcmul_(points[own], along, value=-1).div_(length[own])
        grads[rows] = grad[rows].mul_(2)  # both directions of a pair
    return 2 * energy, _saturated(grads[:heads]), _saturated(grads[heads:])


def _saturated(grad: Tensor) -> Tensor:
    """What is too large for its dtype, as large as can be."""
    return grad.clamp_(-torch.finfo(grad.dtype).max, torch.finfo(grad.dtype).max)


def attract(x: Tensor, classes: Tensor, law: PairLaw, grad: Tensor, heads: int, tail: bool) -> Tensor:
    """Energy of the same-class pairs, each once; adds half of its gradient to `grad`.

    x (n, D) float64, classes (n,) int64; pairs within [heads, n) only if `tail`. Classes of one size are done
    together.
    """
    limit = tile_side(x) ** 2
    energy = x.new_zeros(())
    norms = torch.linalg.vector_norm(x, dim=1).square_()
    order = torch.argsort(classes, stable=True)
    sizes = torch.bincount(classes)
    starts = sizes.cumsum(0) - sizes
    for m in sizes.unique().tolist():
        if m < 2:
            continue
        members = order[starts[sizes == m][:, None] + torch.arange(m, device=x.device)]  # (classes, m)
        rows = min(m, max(1, limit // m))
        together = min(limit // (rows * m), BLOCK_ELEMENTS // (m * x.shape[1]))
        for block in members.split(max(1, together)):
            for first in range(0, m, rows):
                energy += _attract_block(x, norms, block, slice(first, first + rows), law, heads, tail, grad)
    return energy / 2


def _attract_block(x, norms, block: Tensor, rows: slice, law: PairLaw, heads: int, tail: bool, grad: Tensor):
    """Ordered pairs (row of the columns `rows` of `block`, column of `block`), class by class.

    block (k, m): indices into x of the points of k classes.
    """
    part, x_m, edge = block[:, rows], x[block], squared_radius(law.delta)
    d2 = norms[part][:, :, None] + norms[block][:, None, :]
    d2.baddbmm_(x_m[:, rows], x_m.transpose(1, 2), alpha=-2)
    acts = d2 >= edge
    acts.diagonal(rows.start, 1, 2).fill_(False)  # a point and itself
    if not tail:
        acts &= (part[:, :, None] < heads) | (block[:, None, :] < heads)
    if not acts.any():  # classes that have come together
        return 0.0
    energy, slope = torch.empty_like(d2), torch.empty_like(d2)
    law.attraction(d2.clamp_(min=edge), energy, slope)
    slope *= acts
    slope.diagonal(rows.start, 1, 2).sub_(slope.sum(-1))  # x_i sum_j w_ij - sum_j w_ij x_j as one product
    grad.index_add_(0, part.reshape(-1), torch.bmm(slope, x_m).view(-1, x.shape[1]), alpha=-2)
    return energy.mul_(acts).sum()
