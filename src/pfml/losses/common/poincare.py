"""The Poincare ball of curvature -c: from Euclidean vectors into it, and distances inside it.

As Hyp (Ermolov et al., CVPR 2022) and HIER (Kim et al., CVPR 2023) use it, after Ganea et al., NeurIPS 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor

EDGE = 1e-3  # relative distance from the ball's surface that points keep
TINY = 1e-5


def to_ball(vectors: Tensor, c: float, clip: float, riemannian: bool = False) -> Tensor:
    """Exponential map at the origin of vectors (n, D) cut to length `clip`: tanh(sqrt(c) |u|) u / (sqrt(c) |u|).

    With `riemannian` the gradient is multiplied by (1 - c |z|^2)^2 / 4 where it enters the ball, as HIER does.
    """
    cut = vectors * (clip / (vectors.norm(dim=1, keepdim=True) + TINY)).clamp_max(1)
    length = cut.norm(dim=1, keepdim=True).clamp_min(TINY)
    points = torch.tanh((c**0.5 * length).clamp_max(15)) * cut / (c**0.5 * length)
    radius, most = points.norm(dim=1, keepdim=True).clamp_min(TINY), (1 - EDGE) / c**0.5
    points = torch.where(radius > most, points / radius * most, points)
    return _Riemannian.apply(points, c) if riemannian else points


def ball_distances(x: Tensor, y: Tensor, c: float) -> Tensor:
    """Distances (n, m) of points of the ball: 2 / sqrt(c) artanh(sqrt(c) |(-x) + y|), + of Moebius:
    |(-x) + y|^2 = |x - y|^2 / (1 - 2 c x.y + c^2 |x|^2 |y|^2). At distance 0 the gradient is 0."""
    apart = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    squares = (x**2).sum(1)[:, None] * (y**2).sum(1)
    sums = apart / (1 - 2 * c * (x @ y.T) + c**2 * squares).sqrt()
    return 2 / c**0.5 * torch.atanh((c**0.5 * sums).clamp_max(1 - TINY))


class _Riemannian(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, c):
        ctx.save_for_backward(points)
        ctx.c = c
        return points.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (points,) = ctx.saved_tensors
        return grad * (1 - ctx.c * (points**2).sum(1, keepdim=True)) ** 2 / 4, None
