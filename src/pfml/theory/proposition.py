"""Proposition 1: PFML's attraction field of a set of embeddings has a minimum within delta of each; CPML's has none.

The proof (supplement, Eqs. 7-15) takes the lowest point of the closed ball of radius delta around z_i. Inside the ball
z_i has no pull; just outside, its pull is alpha / delta^(alpha+1). If that exceeds the other embeddings' pull along the
radial line, the line has a minimum there. The paper claims only such a *radial* minimum, for delta small enough.

The code checks more. At the ball's lowest point the others' force is radial too. If the own pull exceeds it, the
potential rises just outside the ball all around that point, which is then a minimum of the whole field.

    surface_slope   slope of the potential along radial lines at the ball's surface
    has_minimum     whether the lowest point of the ball, found by descent, is a minimum of the whole field
    guaranteed      alpha / delta^(alpha+1) > sum_j alpha / (d_ij - delta)^(alpha+1), with the others' pull bounded by
                    its largest value on the ball; implies both minima, and holds for every small enough delta

For CPML the slope of the whole field at the surface is that of n |z - mean|^2. The ball of z_i has a minimum only if
|z_i - mean| <= delta, which holds for at most one of balls that do not intersect (Eqs. 16-20). Elsewhere the slope on
the line through the ball's lowest point is 2n (delta - |z_i - mean|) < 0. That line distinguishes the two fields, as do
minima in space. Other radial lines may not; the proof does not treat them.
"""

import numpy as np

from pfml.theory.fields import FLOOR, DecayingLaw, Law, attraction_field, check_sets, distances
from pfml.theory.rest import least_force, residual, unit

# Descent inside a ball: number of steps, first and last step in delta (falling by equal factors).
STEPS, FIRST, LAST = 300, 0.1, 3e-5
NUDGE = 0.1  # distance of the start from the embedding, in delta: exactly on it the others' pulls may cancel
AT_REST = 0.001  # largest force at a minimum, in units of the embedding's own pull at delta
SLACK = 0.001  # a kink can hold a charge whose distance differs from delta by at most this, in delta
NEIGHBORS = 8  # the others' pull is tried in the directions of this many nearest embeddings
HALVINGS = 12  # of a bisection of delta
CLOSEST = 1e-6  # embeddings nearer than this count as equal


def nearest_distance(points: np.ndarray) -> np.ndarray:
    """Smallest distance between two embeddings of a set: (..., n, D) -> (...), infinite for a single one."""
    return _between(points).min((-1, -2))


def guaranteed(points: np.ndarray, law: DecayingLaw) -> np.ndarray:
    """Whether the closed form promises a minimum in the ball of each embedding: (..., n, D) -> (..., n)."""
    gap = _between(points) - law.delta
    against = law.pull(np.maximum(gap, law.delta)).sum(-1)
    return (gap > law.delta).all(-1) & (law.pull(law.delta) > against)


def guaranteed_radius(points: np.ndarray, alpha: float) -> np.ndarray:
    """The largest delta at which `guaranteed` holds for every embedding: (..., n, D) -> (...), by bisection.

    It has the unit of the set's nearest-neighbour distance: 0.5 for two embeddings, less for more. It is above 0 unless
    two embeddings coincide, so that a delta as in the proposition always exists.

    Raises:
        ValueError: a set of one embedding, or with two in one place.
    """
    return _radius(points, alpha, lambda one, law: guaranteed(one, law).all())


def radial_radius(points: np.ndarray, alpha: float) -> np.ndarray:
    """As `guaranteed_radius`, with the strongest pull that `hardest_slope` finds instead of its bound; at most 0.5,
    where the nearest two balls meet."""
    return _radius(points, alpha, lambda one, law: (hardest_slope(one, law) > 0).all())


def surface_slope(points: np.ndarray, law: Law, ways: np.ndarray) -> np.ndarray:
    """Slope of the potential along outward normals, just outside the ball of each embedding.

    Args:
        points: (..., n, D) embeddings. ways: (..., n, K, D) unit vectors.

    Returns:
        (..., n, K), in units of the embedding's own pull there: 1 without others, below 0 if their pull is larger.
    """
    slope, _ = _surface(points, law, ways)
    return slope


def hardest_slope(points: np.ndarray, law: Law, refine: int = 3) -> np.ndarray:
    """The smallest `surface_slope` over several directions: (..., n, D) -> (..., n).

    The directions are those to near embeddings, that of the others' pull at the centre, and, `refine` times, those of
    their pull at the surface points of the directions before.
    """
    nearest = np.argsort(_between(points), axis=-1)[..., : min(NEIGHBORS, points.shape[-2] - 1)]
    towards = np.take_along_axis(points[..., None, :, :], nearest[..., None], -2) - points[..., None, :]
    pulled = attraction_field(points, points, law)[1][..., None, :]  # at d = 0 the own pull is none
    ways, least = unit(np.concatenate([towards, pulled], -2)), np.inf
    for _ in range(refine + 1):
        slope, ways = _surface(points, law, ways)
        least = np.minimum(least, slope.min(-1))
    return least


def has_minimum(points: np.ndarray, law: Law, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Whether the field has a minimum in the closed ball of each embedding, and whether that lies in no other ball.

    A descent inside the ball starts beside the embedding. Its end is a minimum if it is an equilibrium of the whole
    field: the others' pull out of the ball, less the part that their own kinks hold, must not exceed the embedding's.

    Args:
        points: (T, n, D), T sets of embeddings.

    Returns:
        minimum (T, n) and alone (T, n); alone implies minimum.

    Raises:
        ValueError: points have another shape.
    """
    points, _ = check_sets("has_minimum: points", points, points)
    if points.ndim != 3:
        raise ValueError(f"has_minimum: points: expected (T, n, D), found {points.shape}")

    def keep(at):
        away = at - points
        return points + away * np.minimum(
            1, law.delta / np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-300)
        )

    at = points + NUDGE * law.delta * unit(rng.normal(size=points.shape))
    for length in law.delta * np.geomspace(FIRST, LAST, STEPS):
        at = keep(at + length * unit(least_force(at, points, law, length)))
    left = [residual(one, field, law, SLACK * law.delta)[0] for one, field in zip(at, points)]
    minimum = np.array(left) <= AT_REST * law.pull(law.delta)
    balls = (distances(at, points) <= (1 + SLACK) * law.delta).sum(-1)
    return minimum, minimum & (balls == 1)


def disjoint(points: np.ndarray, law: Law) -> np.ndarray:
    """Whether no two balls of radius delta around embeddings (..., n, D) meet: (...)."""
    return nearest_distance(points) > 2 * law.delta


def _between(points: np.ndarray) -> np.ndarray:
    """Distances between embeddings (..., n, n), infinite on the diagonal."""
    points, _ = check_sets("points", points, points)
    return distances(points, points, floor=0.0) + np.where(np.eye(points.shape[-2], dtype=bool), np.inf, 0.0)


def _surface(points: np.ndarray, law: Law, ways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`surface_slope`, and the directions of the others' pull at these surface points."""
    n, dimension = points.shape[-2:]
    places = points[..., None, :] + law.delta * ways
    flat = places.reshape(*points.shape[:-2], -1, dimension)
    distance = distances(flat, points)
    others = ~np.eye(n, dtype=bool).repeat(ways.shape[-2], 0)  # (n * K, n)
    weight = np.where(others, law.attraction_slope(distance) / distance, 0.0)
    force = (weight @ points - weight.sum(-1, keepdims=True) * flat).reshape(places.shape)
    return 1 - (force * ways).sum(-1) / law.pull(law.delta), unit(force)


def _radius(points: np.ndarray, alpha: float, holds) -> np.ndarray:
    """Bisection between 0 and half the nearest-neighbour distance, which is scaled to 1, since the law has no unit."""
    nearest = nearest_distance(points)
    if not ((nearest > CLOSEST) & (nearest < np.inf)).all():
        raise ValueError(f"radius: expected sets of two or more distinct embeddings, nearest at {np.min(nearest):.3g}")
    sets = (points / nearest[..., None, None]).reshape(-1, *points.shape[-2:])
    radii = []
    for one in sets:
        low, high = 2 * FLOOR, 0.5
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(one, DecayingLaw(alpha, middle)) else (low, middle)
        radii.append(low)
    return np.reshape(radii, nearest.shape)
