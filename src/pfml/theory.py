"""The potential fields of the paper in plain numpy: potential and force of a class field (Eqs. 3-5) anywhere in space.

Excess form throughout: the constants that make a far or near field non-zero are removed, which changes no force.

    PFML   attraction (1)  delta^-alpha - max(d, delta)^-alpha     repulsion (2)  min(d, delta)^-alpha - delta^-alpha
    CPML   attraction (8)  max(d, delta)^2 - delta^2               repulsion      (delta - d)^2 for d < delta, else 0

with d = |r - z|. The paper does not print CPML's repulsion; the squared hinge is our reading.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FLOOR = 1e-3  # distance below which a pair is treated as this far apart: Eq. 2 has no bound at d = 0


@dataclass(frozen=True)
class DecayingLaw:
    """PFML: strength falls with distance. Methods return (potential, its derivative with respect to d)."""

    alpha: float = 3.0
    delta: float = 0.2

    def attraction(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outside = np.maximum(d, self.delta)
        slope = np.where(d > self.delta, self.alpha * outside ** (-self.alpha - 1), 0.0)
        return self.delta**-self.alpha - outside**-self.alpha, slope

    def repulsion(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = np.clip(d, FLOOR, self.delta)
        slope = np.where(d < self.delta, -self.alpha * inside ** (-self.alpha - 1), 0.0)
        return inside**-self.alpha - self.delta**-self.alpha, slope


@dataclass(frozen=True)
class GrowingLaw:
    """CPML: strength grows with distance. Methods return (potential, its derivative with respect to d)."""

    delta: float = 0.2

    def attraction(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.maximum(d, self.delta) ** 2 - self.delta**2, np.where(d > self.delta, 2 * d, 0.0)

    def repulsion(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gap = np.maximum(self.delta - d, 0.0)
        return gap**2, -2 * gap


def class_field(where: np.ndarray, points: np.ndarray, labels: np.ndarray, own: int, law) -> tuple:
    """Psi_own of Eqs. 3-5 and the force -grad Psi_own that it puts on a charge of class `own`.

    Args:
        where: (..., D) positions. points: (n, D) charges (embeddings and proxies). labels: (n,) their classes.
        own: the class whose field it is. law: DecayingLaw or GrowingLaw.

    Returns:
        potential (...,) and force (..., D).

    Raises:
        ValueError: shapes that do not fit.
    """
    where, points, labels = np.asarray(where, float), np.asarray(points, float), np.asarray(labels)
    if points.ndim != 2 or where.shape[-1] != points.shape[1] or labels.shape != points.shape[:1]:
        raise ValueError(
            "class_field: expected where (..., D), points (n, D) and labels (n,), "
            f"found {where.shape}, {points.shape}, {labels.shape}"
        )
    difference = where[..., None, :] - points
    distance = np.maximum(np.linalg.norm(difference, axis=-1), FLOOR)
    pulled, pull = law.attraction(distance)
    pushed, push = law.repulsion(distance)
    same = labels == own
    potential = np.where(same, pulled, pushed).sum(-1)
    slope = np.where(same, pull, push) / distance
    return potential, -(slope[..., None] * difference).sum(-2)


def settle(start: np.ndarray, force: Callable[[np.ndarray], np.ndarray], step: float, steps: int) -> np.ndarray:
    """Where free charges (n, D) come to rest in a fixed field: downhill steps of a length that falls linearly to 0.

    The length is `step` (units of space) at first and does not depend on the size of the force, which spans orders
    of magnitude; a charge without force stays.
    """
    at = np.array(start, float)
    for i in range(steps):
        push = force(at)
        size = np.linalg.norm(push, axis=-1, keepdims=True)
        at = at + step * (1 - i / steps) * np.divide(push, size, out=np.zeros_like(push), where=size > 0)
    return at
