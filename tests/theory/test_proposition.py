"""Proposition 1 where it can be done by hand: where it holds, and where it must not."""

import numpy as np
import pytest

from pfml import theory
from pfml.theory import fields
from pfml.theory.rest import unit
from tests.theory.cases import CPML, LAWS, PAIR, PFML, outlier, random


def minima(points, law):
    minimum, alone = theory.has_minimum(np.array(points, float)[None], law, np.random.default_rng(0))
    return minimum[0].tolist(), alone[0].tolist()


@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0, 6.0])
def test_two_embeddings_have_a_minimum_each_until_their_balls_meet(alpha):
    for delta, alone in ((0.3, True), (0.9, True), (1.2, False), (1.9, False)):
        assert minima(PAIR, theory.DecayingLaw(alpha, delta)) == ([True, True], [alone, alone])
    assert theory.guaranteed_radius(PAIR, alpha) == pytest.approx(0.5, abs=1e-3)
    assert theory.radial_radius(PAIR, alpha) == pytest.approx(0.5, abs=1e-3)


def test_cpml_has_its_minimum_at_the_mean_and_in_no_ball():
    assert minima(PAIR, CPML) == ([False, False], [False, False])
    end = theory.equilibrium(random(1, 4, 2), PAIR[None], CPML)
    assert np.abs(end).max() < 1e-3 and theory.at_rest(end, PAIR[None], CPML).all()


@pytest.mark.parametrize("distance, holds", [(0.3993, True), (0.4007, False)])
def test_a_ball_that_the_mean_is_just_outside_of_holds_no_minimum(distance, holds):
    """A fifth of a percent of delta decides: balls that meet around the mean, and balls that do not."""
    points = distance / 2 * PAIR
    assert minima(points, CPML)[0] == [holds, holds] and minima(points, PFML)[1] == [not holds] * 2
    assert theory.disjoint(points, CPML) == (not holds)


def test_cpml_has_a_minimum_in_the_one_ball_that_holds_the_mean():
    assert minima([[-1, 0], [0.1, 0], [1, 0]], CPML) == ([False, True, False], [False, True, False])


@pytest.mark.parametrize("alpha, holds, fails", [(3.0, 0.3, 0.4), (0.0, 0.05, 0.07)])
def test_proposition_1_fails_beside_a_crowd(alpha, holds, fails):
    """The own pull wins while (1/delta - 1)^(alpha+1) > 16: delta < 1/3 at alpha 3, delta < 1/17 at alpha 0."""
    ways = np.zeros((17, 1, 2))
    ways[..., 0] = 1.0
    for delta, expected in ((holds, True), (fails, False)):
        law = theory.DecayingLaw(alpha, delta)
        slope = theory.surface_slope(outlier(), law, ways)[0, 0]
        assert slope == pytest.approx(1 - 16 * (delta / (1 - delta)) ** (alpha + 1), rel=1e-3)
        assert (slope > 0) == expected
        assert theory.guaranteed(outlier(), law)[0] == expected
        assert minima(outlier(), law)[0][0] == expected
        assert theory.hardest_slope(outlier(), law)[0] == pytest.approx(slope, rel=1e-3)


def test_a_minimum_along_a_radial_line_says_little():
    """Across the direction to the mean even CPML's field rises at both ends of a ball that holds no minimum."""
    across = np.tile([[0.0, 1.0], [0.0, -1.0]], (2, 1, 1))
    assert (theory.surface_slope(PAIR, CPML, across) > 0).all()
    assert minima(PAIR, CPML)[0] == [False, False]


def test_on_the_line_through_the_lowest_point_cpml_falls_at_the_surface():
    """2n (delta - |z - mean|) < 0 towards the mean, in units of the own pull 2 delta."""
    points = random(7, 3)
    towards = points.mean(0) - points
    length = np.linalg.norm(towards, axis=-1)
    assert theory.disjoint(points, CPML) and (length > CPML.delta).all()
    slope = theory.surface_slope(points, CPML, (towards / length[:, None])[:, None])[:, 0]
    assert slope == pytest.approx(7 * (CPML.delta - length) / CPML.delta)


def test_a_minimum_in_the_ball_is_where_charges_from_just_outside_return():
    """60 embeddings around which the others win on some balls and not on others, after an independent descent."""
    case = theory.Case(
        embeddings=60, proxies=0, dimension=64, groups=4, spread=0.3, start=0.0, alpha=3.0, delta=0.2
    )  # fmt: skip
    points, _ = case.draw(3, np.random.default_rng(0))
    minimum, _ = theory.has_minimum(points, PFML, np.random.default_rng(0))
    # The lowest points of the balls, by plain projected descent in a field whose kinks are smoothed over 0.002 delta.
    at = points + 0.02 * unit(random(*points.shape))
    for i in range(1500):
        at = ball(at + 0.004 * (1 - i / 1500) * unit(smooth_force(at, points)), points)
    at = points + 1.002 * (at - points)
    for i in range(1500):
        at = at + 0.001 * (1 - i / 1500) * unit(smooth_force(at, points))
    stays = np.linalg.norm(at - points, axis=-1) <= 1.01 * PFML.delta
    # A push by 0.2 % of delta and the smoothing cost the shallowest minima.
    assert 0.4 < stays.mean() < 0.6 and not (stays & ~minimum).any() and (minimum & ~stays).mean() < 0.08


def ball(at, points):
    away = at - points
    return points + away * np.minimum(1, PFML.delta / np.linalg.norm(away, axis=-1, keepdims=True))


def smooth_force(at, points):
    distance = fields.distances(at, points)
    ramp = np.clip((distance - PFML.delta) / (0.002 * PFML.delta) + 1, 0, 1)
    weight = ramp * PFML.pull(np.maximum(distance, 0.99 * PFML.delta)) / distance
    return weight @ points - weight.sum(-1, keepdims=True) * at


@pytest.mark.parametrize("law", LAWS)
def test_the_slope_at_the_surface_is_that_of_the_potential(law):
    points, ways = random(6, 3), unit(random(6, 4, 3, seed=1))
    step = 1e-7
    for i in range(6):
        heights = [theory.attraction_field(points[i] + (0.2 + s) * ways[i], points, law)[0] for s in (step, 2 * step)]
        slope = (heights[1] - heights[0]) / step / law.pull(0.2)
        assert theory.surface_slope(points, law, ways)[i] == pytest.approx(slope, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 3.0])
@pytest.mark.parametrize("dimension", [2, 8])
def test_each_test_implies_the_next(alpha, dimension):
    points = random(4, 12, dimension)
    nearest = theory.nearest_distance(points)
    points = points / nearest[:, None, None]
    found = np.zeros(3)
    for delta in (0.05, 0.2, 0.45):
        law = theory.DecayingLaw(alpha, delta)
        sure, rising = theory.guaranteed(points, law), theory.hardest_slope(points, law) > 0
        minimum, _ = theory.has_minimum(points, law, np.random.default_rng(0))
        assert (rising | ~sure).all() and (minimum | ~sure).all() and (minimum | ~rising).all()
        found += sure.mean(), rising.mean(), minimum.mean()
    assert 0 < found[0] <= found[1] <= found[2]
    assert (theory.guaranteed_radius(points, alpha) <= theory.radial_radius(points, alpha) + 1e-9).all()


def test_nearest_distance_by_hand():
    points = np.array([[[0.0, 0.0], [3.0, 4.0], [3.0, 4.001]], [[0.0, 0.0], [0.0, 2.0], [5.0, 0.0]]])
    assert theory.nearest_distance(points) == pytest.approx([0.001, 2.0])
