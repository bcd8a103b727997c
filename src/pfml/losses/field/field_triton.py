"""The field on a GPU in one kernel (Triton): the same sum as on the CPU, without a wait for the host in between.

A program owns BI points and walks over all others, BJ at a time. Distances grow with every coordinate looked at, so
it leaves a tile as soon as the first ones show that no pair is near and none is of one class. What is left is done
in float32 with the law itself in float64; a tile with a pair that rounding could spoil (very close ones, and ones on
an edge) is done in float64 from the differences x - y. No atomics: the sum is the same each time.
"""

from __future__ import annotations

import contextlib
import os

import torch
import triton
import triton.language as tl
from torch import Tensor

from pfml.losses.field.pair_law import PairLaw, squared_radius

MOST_POINTS = 60_000  # beyond, the list of near pairs of the torch path saves more than one kernel does
MOST_DIMENSIONS = 512  # a program keeps the gradient of its points in registers
FORMS = {"power": 0, "log": 1, "linear": 2, "squared_hinge": 3, "mirror": 4}
# Rows, columns and coordinates of a tile. With these, nothing spills out of the registers up to D = 512 on compute
# capability 9.0 (ptxas), and shared memory is 64 KiB.
BLOCK = {"BI": 16, "BJ": 32, "BK": 32, "num_warps": 8, "num_stages": 1}
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def fits(x: Tensor) -> bool:
    """Whether the kernel can and should do these points (n, D)."""
    if not 0 < len(x) <= MOST_POINTS or x.shape[1] > MOST_DIMENSIONS:
        return False
    if x.is_cuda:
        return torch.version.cuda is not None and torch.cuda.get_device_capability(x.device) >= (8, 0)
    return INTERPRETED


def add_field(
    x: Tensor,
    classes: Tensor,
    law: PairLaw,
    grad: Tensor,
    heads: int,
    attraction: bool,
    repulsion: bool,
    centred: Tensor,
) -> Tensor:
    """Energy of all pairs, each once, as a float64 scalar; adds half of its gradient to `grad`.

    x (n, D) float64, classes (n,) int64, grad (n, D) float64; attraction and repulsion within [heads, n) if wished.
    centred (n, D) float32 is overwritten.
    """
    n, D = x.shape
    device = x.device
    torch.sub(x, x.mean(0), out=centred)
    edges = squared_radius(law.delta), squared_radius(law.delta_rep), squared_radius(law.eps)
    alpha = float(getattr(law, "alpha", 0.0))
    constants = torch.tensor([*edges, alpha, law.delta, law.delta_rep], dtype=torch.float64, device=device)
    programs = triton.cdiv(n, BLOCK["BI"])
    energy = torch.empty(programs, dtype=torch.float64, device=device)
    with torch.cuda.device(device) if x.is_cuda else contextlib.nullcontext():
        _field[(programs,)](
            centred,
            x,
            classes.to(torch.int32),
            grad,
            energy,
            constants,
            n,
            heads,
            D,
            attraction,
            repulsion,
            FORMS[law.form],
            BD=max(16, triton.next_power_of_2(D)),
            **BLOCK,
        )
    return energy.sum() / 2


@triton.jit
def _law(d2, same, alpha, delta, delta_rep, FORM: tl.constexpr):
    """Energy and slope (derivative with respect to d^2), float64, attraction where `same`, else repulsion."""
    radius = tl.where(same, delta, delta_rep)
    sign = tl.where(same, -1.0, 1.0)
    if FORM == 0:  # d^-alpha
        power = tl.exp(-0.5 * alpha * tl.log(d2))
        energy = sign * (power - tl.exp(-alpha * tl.log(radius)))
        slope = -0.5 * alpha * sign * power / d2
    elif FORM == 1:  # log
        energy = -sign * (0.5 * tl.log(d2) - tl.log(radius))
        slope = -0.5 * sign / d2
    elif FORM == 2:  # linear
        d = tl.sqrt(d2)
        energy = -sign * (d - radius)
        slope = -0.5 * sign / d
    else:  # CPML: Eq. 8, and its repulsion as a hinge or as the mirror of Eq. 2
        d = tl.sqrt(d2)
        if FORM == 3:
            repulsion, push = (d - radius) * (d - radius), 1.0 - radius / d
        else:
            repulsion, push = radius * radius - d2, 0.0 * d2 - 1.0
        energy = tl.where(same, d2 - radius * radius, repulsion)
        slope = tl.where(same, 1.0, push)
    return energy, slope


@triton.jit
def _any(mask):
    return tl.max(tl.max(mask.to(tl.int32), 1), 0) > 0


@triton.jit
def _field(
    X,  # (n, D) float32, about the centre
    P,  # (n, D) float64
    C,  # (n,) classes
    G,  # (n, D) float64, gradient
    E,  # (programs,) float64, energy
    K,  # constants of the law
    n,
    heads,
    D: tl.constexpr,
    ATTRACTION: tl.constexpr,
    REPULSION: tl.constexpr,
    FORM: tl.constexpr,
    BI: tl.constexpr,
    BJ: tl.constexpr,
    BK: tl.constexpr,
    BD: tl.constexpr,
):
    att_edge, rep_edge, floor = tl.load(K), tl.load(K + 1), tl.load(K + 2)
    alpha, delta, delta_rep = tl.load(K + 3), tl.load(K + 4), tl.load(K + 5)
    i = tl.program_id(0) * BI + tl.arange(0, BI)
    c_i = tl.load(C + i, mask=i < n, other=-1)
    d = tl.arange(0, BD)
    push = tl.zeros((BI, BD), tl.float32)
    weight = tl.zeros((BI,), tl.float32)
    total = tl.zeros((BI,), tl.float64)
    for start in range(0, n, BJ):
        j = start + tl.arange(0, BJ)
        c_j = tl.load(C + j, mask=j < n, other=-1)
        pair = (i < n)[:, None] & (j < n)[None, :] & (i[:, None] != j[None, :])
        among = (i >= heads)[:, None] & (j >= heads)[None, :]  # pairs of proxies
        same = c_i[:, None] == c_j[None, :]
        may_pull, may_push = pair & same, pair & (same == 0)
        if not ATTRACTION:
            may_pull = may_pull & (among == 0)
        if not REPULSION:
            may_push = may_push & (among == 0)

        # squared distances, coordinate by coordinate, as long as they may matter
        dot = tl.zeros((BI, BJ), tl.float32)
        norm_i, norm_j = tl.zeros((BI,), tl.float32), tl.zeros((BJ,), tl.float32)
        d2, size = dot, 0.0
        pulls = _any(may_pull)
        go = pulls | _any(may_push)
        k0 = 0
        while (k0 < D) & go:
            k = k0 + tl.arange(0, BK)
            x_i = tl.load(X + i[:, None] * D + k[None, :], mask=(i < n)[:, None] & (k < D)[None, :], other=0.0)
            x_j = tl.load(X + j[:, None] * D + k[None, :], mask=(j < n)[:, None] & (k < D)[None, :], other=0.0)
            dot = tl.dot(x_i, tl.trans(x_j), dot, input_precision="tf32x3")
            norm_i += tl.sum(x_i * x_i, 1)
            norm_j += tl.sum(x_j * x_j, 1)
            d2 = norm_i[:, None] + norm_j[None, :] - 2 * dot
            size = tl.max(norm_i, 0) + tl.max(norm_j, 0)
            go = pulls | _any(may_push & (d2 < rep_edge + 1e-5 * size))
            k0 += BK

        if go:
            # As in pfml.losses.field.repulsion: what rounding could spoil is done in float64.
            margin, close = 2e-6 * size, 0.2 * size
            pull, repel = may_pull & (d2 >= att_edge - margin), may_push & (d2 < rep_edge + margin)
            near_edge = (pull & (d2 < att_edge + margin)) | (repel & (d2 > rep_edge - margin))
            doubtful = near_edge | ((pull | repel) & (d2 < tl.maximum(close, floor + margin)))
            if _any(doubtful):
                exact = tl.zeros((BI, BJ), tl.float64)
                for k1 in range(0, D, 4):
                    e = k1 + tl.arange(0, 4)
                    p_i = tl.load(P + i[:, None] * D + e[None, :], mask=(i < n)[:, None] & (e < D)[None, :], other=0.0)
                    p_j = tl.load(P + j[:, None] * D + e[None, :], mask=(j < n)[:, None] & (e < D)[None, :], other=0.0)
                    difference = p_i[:, None, :] - p_j[None, :, :]
                    exact += tl.sum(difference * difference, 2)
                acts = (may_pull & (exact >= att_edge)) | (may_push & (exact < rep_edge))
                energy, slope = _law(
                    tl.where(acts, tl.where(same, exact, tl.maximum(exact, floor)), 1.0),
                    same,
                    alpha,
                    delta,
                    delta_rep,
                    FORM,
                )
                total += tl.sum(tl.where(acts, energy, 0.0), 1)
                slope = tl.where(acts & (same | (exact >= floor)), slope, 0.0)
                for k2 in range(0, D, 4):
                    e = k2 + tl.arange(0, 4)
                    mask_i = (i < n)[:, None] & (e < D)[None, :]
                    p_i = tl.load(P + i[:, None] * D + e[None, :], mask=mask_i, other=0.0)
                    p_j = tl.load(P + j[:, None] * D + e[None, :], mask=(j < n)[:, None] & (e < D)[None, :], other=0.0)
                    force = tl.sum(slope[:, :, None] * (p_i[:, None, :] - p_j[None, :, :]), 1)
                    g = tl.load(G + i[:, None] * D + e[None, :], mask=mask_i, other=0.0)
                    tl.store(G + i[:, None] * D + e[None, :], g + 2 * force, mask=mask_i)
            else:
                acts = pull | repel
                if _any(acts):
                    energy, slope = _law(tl.where(acts, d2, 1.0).to(tl.float64), same, alpha, delta, delta_rep, FORM)
                    total += tl.sum(tl.where(acts, energy, 0.0), 1)
                    w = tl.where(acts, slope, 0.0).to(tl.float32)
                    x_j = tl.load(X + j[:, None] * D + d[None, :], mask=(j < n)[:, None] & (d < D)[None, :], other=0.0)
                    push = tl.dot(w, x_j, push, input_precision="tf32x3")
                    weight += tl.sum(w, 1)
    tl.debug_barrier()  # what the loop stored is read here, in another order
    inside = (i < n)[:, None] & (d < D)[None, :]
    x_i = tl.load(X + i[:, None] * D + d[None, :], mask=inside, other=0.0)
    g = tl.load(G + i[:, None] * D + d[None, :], mask=inside, other=0.0)
    tl.store(G + i[:, None] * D + d[None, :], g + 2 * (weight[:, None] * x_i - push).to(tl.float64), mask=inside)
    tl.store(E + tl.program_id(0), tl.sum(total, 0))
