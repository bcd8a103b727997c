"""The potential fields of the paper in plain numpy: potential and force of a class field (Eqs. 3-5) anywhere in space.

All potentials are in excess form, without the constants that make a far or near field non-zero. No force changes.

    PFML   attraction (1)  delta^-alpha - max(d, delta)^-alpha     repulsion (2)  min(d, delta)^-alpha - delta^-alpha
    CPML   attraction (8)  max(d, delta)^2 - delta^2               repulsion      (delta - d)^2 for d < delta, else 0

with d = |r - z|. At alpha = 0, where (1) and (2) are constant, the logarithm replaces them, as in pfml.losses. The
paper does not print CPML's repulsion; the squared hinge is our reading.
"""

from dataclasses import dataclass

import numpy as np

FLOOR = 1e-3  # smallest distance of a pair, since Eq. 2 has no bound at d = 0


@dataclass(frozen=True)
class DecayingLaw:
    """PFML: strength falls with distance. attraction and repulsion return (potential, its derivative with respect to
    d), attraction_slope the derivative alone.

    Raises:
        ValueError: alpha < 0, or delta not above FLOOR.
    """

    alpha: float = 3.0
    delta: float = 0.2

    def __post_init__(self):
        if not 0 <= self.alpha < np.inf:
            raise ValueError(f"DecayingLaw: expected alpha >= 0, found {self.alpha}")
        _check_radius(self)

    def pull(self, d: np.ndarray) -> np.ndarray:
        """The attraction's force at distance d, as if there were no radius delta: alpha / d^(alpha + 1)."""
        power = self.alpha + 1.0
        if power != int(power) or power > 8:
            return (self.alpha or 1.0) * d**-power
        near = product = 1.0 / d  # repeated products take a tenth of the time of a power
        for _ in range(int(power) - 1):
            product = product * near
        return (self.alpha or 1.0) * product

    def attraction(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._height(self.delta) - self._height(np.maximum(d, self.delta)), self.attraction_slope(d)

    def attraction_slope(self, d: np.ndarray) -> np.ndarray:
        return np.where(d > self.delta, self.pull(np.maximum(d, self.delta)), 0.0)

    def repulsion(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = np.clip(d, FLOOR, self.delta)
        return self._height(inside) - self._height(self.delta), np.where(d < self.delta, -self.pull(inside), 0.0)

    def _height(self, d):
        return d**-self.alpha if self.alpha else -np.log(d)


@dataclass(frozen=True)
class GrowingLaw:
    """CPML: strength grows with distance. Methods return (potential, its derivative with respect to d).

    Raises:
        ValueError: delta not above FLOOR.
    """

    delta: float = 0.2

    def __post_init__(self):
        _check_radius(self)

    def pull(self, d: np.ndarray) -> np.ndarray:
        """The attraction's force at distance d, as if there were no radius delta: 2 d."""
        return 2.0 * d

    def attraction(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.maximum(d, self.delta) ** 2 - self.delta**2, self.attraction_slope(d)

    def attraction_slope(self, d: np.ndarray) -> np.ndarray:
        return np.where(d > self.delta, self.pull(d), 0.0)

    def repulsion(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gap = np.maximum(self.delta - d, 0.0)
        return gap**2, -2 * gap


Law = DecayingLaw | GrowingLaw


def class_field(where: np.ndarray, points: np.ndarray, labels: np.ndarray, own: int, law: Law) -> tuple:
    """Potential Psi_own of class `own` (Eqs. 3-5), and its force -grad Psi_own on a charge of that class.

    Args:
        where: (..., D) positions. points: (n, D) charges (embeddings and proxies). labels: (n,) their classes.
        own: the class whose field is computed.

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


def attraction_field(where: np.ndarray, points: np.ndarray, law: Law) -> tuple[np.ndarray, np.ndarray]:
    """Potential Psi_att of Eq. 4 (CPML: Eq. 10) and force -grad Psi_att, for many sets of embeddings of one class.

    Args:
        where: (..., m, D) positions. points: (..., n, D) embeddings, with the same leading axes.

    Returns:
        potential (..., m) and force (..., m, D).

    Raises:
        ValueError: shapes that do not fit.
    """
    where, points = check_sets("attraction_field: where", where, points)
    distance = distances(where, points)
    potential, slope = law.attraction(distance)
    weight = slope / distance
    return potential.sum(-1), weight @ points - weight.sum(-1, keepdims=True) * where


def distances(
    where: np.ndarray, points: np.ndarray, floor: float = FLOOR, squares: np.ndarray | None = None
) -> np.ndarray:
    """Distances between positions (..., m, D) and points (..., n, D): (..., m, n), at least `floor`.

    Args:
        squares: (..., n), the squared lengths of the points, where they are known already.
    """
    squares = squared_lengths(points) if squares is None else squares
    found = where @ np.swapaxes(-2 * points, -1, -2)
    found += squared_lengths(where)[..., :, None]
    found += squares[..., None, :]
    return np.sqrt(np.maximum(found, floor**2, out=found), out=found)


def squared_lengths(vectors: np.ndarray) -> np.ndarray:
    """(..., n, D) -> (..., n)."""
    return np.einsum("...d,...d->...", vectors, vectors)


def check_sets(name: str, where, points) -> tuple[np.ndarray, np.ndarray]:
    """Both as float arrays. ValueError if positions (..., m, D) and embeddings (..., n, D) do not fit."""
    where, points = np.asarray(where, float), np.asarray(points, float)
    fit = where.ndim == points.ndim >= 2 and where.shape[:-2] == points.shape[:-2]
    if not fit or where.shape[-1] != points.shape[-1]:
        raise ValueError(
            f"{name}: expected (..., m, D) beside embeddings (..., n, D), found {where.shape}, {points.shape}"
        )
    if not (np.isfinite(where).all() and np.isfinite(points).all()):
        raise ValueError(f"{name}: expected finite coordinates, found inf or nan")
    return where, points


def _check_radius(law) -> None:
    if not FLOOR < law.delta < np.inf:
        raise ValueError(f"{type(law).__name__}: expected delta > {FLOOR}, found {law.delta}")
