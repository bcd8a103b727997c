"""Corollary 1: at equilibrium, proxies are nearer (W2) to the embeddings of their class under PFML than under CPML.

In the proof (supplement, Eqs. 21-26) proxies start from a normal distribution and run to the nearest minimum of the
fixed attraction field of the embeddings. With Proposition 1, and *assuming that no two proxies end at one embedding*,
W2 <= delta under PFML (Eq. 22). Under CPML all proxies end at the mean, farther than delta from all embeddings but at
most one. The code here drops the assumption: it moves the proxies to rest and measures W2, in three settings,

    fixed     the proof's: proxies feel the embeddings only, in all of R^D
    sphere    embeddings and proxies on the unit sphere; the paper normalises embeddings, and says nothing of proxies
    mutual    on the sphere, and proxies of the class also attract each other, as in the energy of Eq. 6

and it measures how often the assumption holds. PFML also has minima away from all embeddings. Outside the balls the
Laplacian of Eq. 4 is alpha (D - 2 - alpha) sum_i d_i^-(alpha+2), so such minima need D > alpha + 2, which every
embedding space of practice fulfils. The mean of far-off embeddings can be such a minimum; it is CPML's only one.

The proof excludes that two proxies end in the same *minimum*. At rest most proxies lie on the surfaces of several
balls, as near to one embedding as to another, so that the nearest embedding does not identify a minimum. `together`
therefore counts proxies that end in one place.
"""

from collections.abc import Mapping

import numpy as np
from scipy.sparse.csgraph import connected_components

from pfml.theory.fields import DecayingLaw, GrowingLaw, Law, attraction_field, check_sets, distances, squared_lengths
from pfml.theory.rest import least_force, settle, unit, unrest
from pfml.wasserstein import class_wasserstein

SETTINGS = ("fixed", "sphere", "mutual")
# Steps of a descent. Both fields have the same, since a proxy without force stops where its steps end. Near kinks the
# steps start at delta / FIRST, so that none jumps over a ball. Away from kinks their sum is WAY times the distance of
# the farthest start and embedding. Proxies that attract each other move slowly, and get more and longer steps.
STEPS = {"fixed": 300, "sphere": 300, "mutual": 600}
FIRST = {"fixed": 20, "sphere": 10, "mutual": 5}  # larger steps on the sphere: half way round it there may be kinks
WAY = 2.0
CHECKED = 10  # draws of a case whose proxies are checked to be at equilibrium
AT_REST = 0.02  # largest force of a charge at rest, as a share of the acting pulls
SLACK = 0.01  # a kink can hold a charge whose distance differs from delta by at most this, in delta
PLACE = {"fine": 0.025, "": 0.1, "coarse": 0.2}  # proxies in a chain of such distances are in one place, in delta
TIE = 0.01  # two W2 that differ by less than this fraction count as equal


def equilibrium(starts: np.ndarray, points: np.ndarray, law: Law, setting: str = "fixed") -> np.ndarray:
    """Final places of proxies that move to rest in the attraction of the embeddings of their class.

    Args:
        starts: (T, M, D) proxies of T independent sets; on the unit sphere for the settings `sphere` and `mutual`.
        points: (T, n, D) embeddings of these sets, likewise.
        setting: one of SETTINGS.

    Returns:
        the places (T, M, D).

    Raises:
        ValueError: shapes or the setting do not fit, or vectors on the sphere have no unit length.
    """
    starts, points = check_sets("equilibrium: starts", starts, points)
    if setting not in SETTINGS:
        raise ValueError(f"equilibrium: setting: expected one of {', '.join(SETTINGS)}, found {setting!r}")
    sphere, mutual = setting != "fixed", setting == "mutual"
    off = max(np.abs(np.linalg.norm(a, axis=-1) - 1).max(initial=0) for a in (starts, points))
    if sphere and off > 1e-6:
        raise ValueError(f"equilibrium: setting {setting}: expected unit vectors, found a length off by {off:.2g}")

    measured = [None, None]  # the places of a step and their distances, which it asks for twice
    squares = squared_lengths(points)

    def apart(at):
        if measured[0] is not at:
            measured[:] = at, distances(at, points, squares=squares)
        return measured[1]

    def force(at, length):
        besides = attraction_field(at, at, law)[1] if mutual else None
        return least_force(at, points, law, length, sphere, besides, apart(at))

    def gap(at):
        return np.abs(apart(at) - law.delta).min(-1)

    way = WAY * (np.linalg.norm(starts, axis=-1).max() + np.linalg.norm(points, axis=-1).max())
    far = {} if mutual else {"gap": gap, "way": way}
    return settle(starts, force, law.delta / FIRST[setting], STEPS[setting], unit if sphere else None, **far)


def at_rest(places: np.ndarray, points: np.ndarray, law: Law, setting: str = "fixed") -> np.ndarray:
    """Whether each proxy at (T, M, D) is at equilibrium in the sense of `equilibrium`: (T, M)."""
    sphere, mutual = setting != "fixed", setting == "mutual"
    left = [unrest(one, field, law, SLACK * law.delta, sphere, mutual) for one, field in zip(places, points)]
    return np.array(left) <= AT_REST


def together(places: np.ndarray, reach: float) -> np.ndarray:
    """Share of proxies (T, M, D) in a place that another proxy has, 1 - places / M: (T,).

    Proxies are in one place if a chain of proxies at most `reach` apart joins them.
    """
    near = distances(places, places) <= reach
    return np.array([1 - connected_components(one)[0] / len(one) for one in near])


def compare(starts: np.ndarray, points: np.ndarray, law: DecayingLaw, setting: str = "fixed") -> Mapping:
    """Move proxies from the same starts to rest in both fields, and measure them per set.

    Arguments are those of `equilibrium`, with the law of PFML. CPML has the same delta.

    Returns:
        arrays (T,):
        `w2_pfml`, `w2_cpml`;
        `lower`, `higher`: PFML's W2 against CPML's; neither if they are equal within TIE;
        `bound`: PFML's W2 <= delta (Eq. 22);
        per field, shares of the M proxies: `together` (as the function, at PLACE[""]; for PFML at all of PLACE), `near`
        (within delta of an embedding), `rest` (at equilibrium; of the first CHECKED sets only);
        `mean_distance`: of CPML's proxies from the mean of the embeddings (on the sphere: from its direction).

    Raises:
        ValueError: as `equilibrium`; or fewer embeddings than proxies.
    """
    measures = {}
    for name, field_law in (("pfml", law), ("cpml", GrowingLaw(law.delta))):
        end = equilibrium(starts, points, field_law, setting)
        measures[f"w2_{name}"] = np.array([class_wasserstein(p, z) for p, z in zip(end, points)])
        measures[f"together_{name}"] = together(end, PLACE[""] * law.delta)
        if name == "pfml":
            measures |= {f"together_{key}": together(end, PLACE[key] * law.delta) for key in ("fine", "coarse")}
        measures[f"near_{name}"] = (distances(end, points).min(-1) <= (1 + SLACK) * law.delta).mean(-1)
        measures[f"rest_{name}"] = at_rest(end[:CHECKED], points[:CHECKED], field_law, setting).mean(-1)
    center = points.mean(-2, keepdims=True)
    if setting != "fixed":
        center = unit(center)
    measures["mean_distance"] = np.linalg.norm(end - center, axis=-1).mean(-1)
    ratio = measures["w2_pfml"] / np.maximum(measures["w2_cpml"], 1e-12)
    measures["lower"], measures["higher"] = ratio < 1 - TIE, ratio > 1 + TIE
    measures["bound"] = measures["w2_pfml"] <= (1 + SLACK) * law.delta
    return measures
