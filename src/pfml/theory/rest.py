"""Move charges to rest in the attraction of a set of embeddings, and check that they are at rest.

An attraction has a kink at distance delta, where its pull jumps from 0 to its full size. At a kink it can hold a charge
with any part of its pull, and at rest most charges lie at one kink or several. The remaining force is the smallest over
all choices of these parts, the negative of the smallest generalised gradient. It is 0 at rest.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import lsq_linear

from pfml.theory.fields import Law, check_sets, distances

KINKS = 4  # largest number of kinks that hold a moving charge together; the check has no such limit
SWEEPS = 8  # of the search for the parts of their pulls


def settle(
    start: np.ndarray,
    force: Callable[[np.ndarray, np.ndarray], np.ndarray],
    step: float,
    steps: int,
    keep: Callable[[np.ndarray], np.ndarray] | None = None,
    gap: Callable[[np.ndarray], np.ndarray] | None = None,
    way: float = 0.0,
) -> np.ndarray:
    """Final positions of charges (..., D) after downhill steps whose length falls linearly from `step` to 0.

    The length of a step, in units of space, does not depend on the size of the force, which spans orders of magnitude.
    A charge without force stays. A charge moves at most step * (steps + 1) / 2 in all.

    Args:
        force: maps positions and the lengths (...) of the present steps to forces.
        keep: maps positions to allowed ones, such as onto the sphere.
        gap: maps positions to their distances to the nearest kink (...). With it, steps are longer away from kinks: up
            to half the gap, so that no step jumps over a kink, and up to a length that falls quadratically to 0.
        way: sum of these longer lengths.
    """
    at = np.array(start, float)
    for i in range(steps):
        left = 1 - i / steps
        length = np.full(at.shape[:-1], step * left)
        if gap is not None:
            length = np.maximum(length, np.minimum(gap(at) / 2, 3 * way / steps * left**2))
        push = force(at, length)
        norm = np.linalg.norm(push, axis=-1, keepdims=True)
        at = at + length[..., None] * np.divide(push, norm, out=np.zeros_like(push), where=norm > 0)
        at = at if keep is None else keep(at)
    return at


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., D) scaled to unit length; zero vectors stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-300)


def tangential(vector: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The part of vectors (..., D) along the unit sphere at unit vectors (..., D)."""
    return vector - (vector * at).sum(-1, keepdims=True) * at


def least_force(
    at: np.ndarray,
    points: np.ndarray,
    law: Law,
    slack: float | np.ndarray,
    sphere: bool = False,
    besides: np.ndarray | None = None,
    distance: np.ndarray | None = None,
) -> np.ndarray:
    """Remaining force of embeddings (..., n, D) on charges (..., m, D), after near kinks have held the charges.

    For a charge without near kink it is the force of `attraction_field` (its tangential part with `sphere`). A descent
    along it does not zigzag across kinks, and is many times as fast where several meet.

    Args:
        slack: a kink is near if the charge's distance differs from delta by at most this; one number, or (..., m).
        besides: a further force (..., m, D) on the charges.
        distance: from charges to embeddings (..., m, n), where it is known already.
    """
    distance = distances(at, points) if distance is None else distance
    off = np.abs(distance - law.delta)
    weight = law.attraction_slope(distance) / distance
    hung = np.nonzero(off.min(-1) <= slack)  # the h charges at a kink, a few of all
    if hung[0].size:
        count = min(KINKS, points.shape[-2])
        nearest = np.argpartition(off[hung], count - 1, axis=-1)[:, :count]
        reach = np.broadcast_to(slack, off.shape[:-1])[hung]
        kink = np.take_along_axis(off[hung], nearest, -1) <= reach[:, None]
        loose = weight[hung]
        np.put_along_axis(loose, nearest, np.where(kink, 0.0, np.take_along_axis(loose, nearest, -1)), -1)
        weight[hung] = loose
    force = weight @ points - weight.sum(-1, keepdims=True) * at
    if besides is not None:
        force = force + besides
    if sphere:
        force = tangential(force, at)
    if hung[0].size:
        inward = points[(*(i[:, None] for i in hung[:-1]), nearest)] - at[hung][:, None]
        pull = np.where(kink, law.pull(law.delta) / np.take_along_axis(distance[hung], nearest, -1), 0)
        held = inward * pull[..., None]
        if sphere:
            held = tangential(held, at[hung][:, None])
        force[hung] += _parts(held, force[hung], kink)
    return force


def _parts(held: np.ndarray, sure: np.ndarray, kink: np.ndarray) -> np.ndarray:
    """The sum_k part_k held_k, with parts in [0, 1], that minimises |sure + sum|: (h, D).

    `held`: (h, K, D). `sure`: (h, D). `kink`: (h, K), which of `held` are valid.
    """
    gram, along = held @ np.swapaxes(held, -1, -2), (held @ sure[..., None])[..., 0]
    squares = np.maximum(np.diagonal(gram, axis1=-2, axis2=-1), 1e-300)
    part = np.where(kink, 0.5, 0.0)
    slope = along + (gram @ part[..., None])[..., 0]
    for _ in range(SWEEPS):  # coordinate descent over the parts
        for k in range(held.shape[1]):
            better = part[:, k] - slope[:, k] / squares[:, k]
            better = np.where(kink[:, k], np.minimum(np.maximum(better, 0.0), 1.0), 0.0)
            slope += gram[:, :, k] * (better - part[:, k])[:, None]
            part[:, k] = better
    return (part[..., None] * held).sum(-2)


def unrest(
    at: np.ndarray, points: np.ndarray, law: Law, slack: float, sphere: bool = False, mutual: bool = False
) -> np.ndarray:
    """Distance of charges (m, D) among embeddings (n, D) from equilibrium: 0 at rest, 1 in a far field. Returns (m,).

    It is the force of `residual` divided by the sum of the acting pulls.
    """
    left, acting = residual(at, points, law, slack, sphere, mutual)
    return left / np.maximum(acting, 1e-300)


def residual(
    at: np.ndarray, points: np.ndarray, law: Law, slack: float, sphere: bool = False, mutual: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest remaining force on charges (m, D) among embeddings (n, D), and the sum of the acting pulls: (m,) each.

    The kinks within `slack` of their distance delta hold the charges as far as they can. With `mutual` the charges also
    attract each other, and a kink between two holds both with one force. Equilibria include saddles; a descent from a
    start without symmetry does not end in one.
    """
    at, points = check_sets("unrest: at", at, points)
    sources = np.concatenate([points, at]) if mutual else points
    difference = at[:, None] - sources
    distance = np.linalg.norm(difference, axis=-1)
    outward = difference / np.maximum(distance, 1e-12)[..., None]
    if sphere:
        outward = tangential(outward, at[:, None])
    kink = np.abs(distance - law.delta) <= slack
    sure = np.where(~kink & (distance > law.delta), law.pull(np.maximum(distance, law.delta)), 0.0)
    force, acting = (sure[..., None] * outward).sum(-2), sure.sum(-1)
    scale = np.maximum(acting, 1e-9 * law.pull(law.delta))
    charge, source = np.nonzero(kink)
    partner = source - len(points)  # the other charge's number where >= 0
    keep = (partner < 0) | (partner > charge)  # a pair of charges has one column
    charge, source, partner = charge[keep], source[keep], partner[keep]
    columns = np.zeros((len(charge), *at.shape))
    columns[np.arange(len(charge)), charge] = outward[charge, source]
    both = np.flatnonzero(partner >= 0)
    columns[both, partner[both]] = outward[partner[both], len(points) + charge[both]]
    part = np.zeros(len(charge))
    groups = [np.arange(len(charge))] if mutual else [np.flatnonzero(charge == k) for k in np.unique(charge)]
    for group in filter(len, groups):
        part[group] = _least_parts(columns[group] / scale[:, None], force / scale[:, None], law.pull(law.delta))
    force = force + np.tensordot(part, columns, 1)
    acting = acting + np.bincount(charge, part, len(at)) + np.bincount(partner[both], part[both], len(at))
    return np.linalg.norm(force, axis=-1), acting


def _least_parts(columns: np.ndarray, force: np.ndarray, most: float) -> np.ndarray:
    """The pulls (K,) in [0, most] that minimise |force + sum_k pull_k columns_k|, for (K, m, D) and (m, D)."""
    moved = np.abs(columns).sum((0, 2)) > 0  # charges without a column do not change the minimum
    flat = columns[:, moved].reshape(len(columns), -1).T
    basis, small = np.linalg.qr(flat)  # a square problem has the same minimum
    return lsq_linear(most * small, -basis.T @ force[moved].ravel(), (0, 1), method="bvls").x * most
