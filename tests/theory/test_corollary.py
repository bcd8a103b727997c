"""Corollary 1 where it can be done by hand: where it holds, and where it must not."""

import numpy as np
import pytest

from pfml import theory
from pfml.theory import corollary, fields
from pfml.theory.rest import unit
from tests.theory.cases import PAIR, PFML, random


def simplex(dimension):
    """dimension + 1 points at equal distances, at distance 1 from their mean, the origin."""
    corners = np.eye(dimension + 1) - 1 / (dimension + 1)
    basis = np.linalg.svd(corners)[2][:dimension]
    return unit(corners @ basis.T)


def compared(starts, points, law=PFML, setting="fixed"):
    return {
        key: value[0] for key, value in theory.compare(np.array([starts]), np.array([points]), law, setting).items()
    }


def test_corollary_1_by_hand_when_each_proxy_has_its_own_embedding():
    found = compared([[-0.5, 0.3], [0.6, -0.2]], PAIR)
    assert found["w2_pfml"] == pytest.approx(0.2, abs=1e-3) and found["w2_cpml"] == pytest.approx(1.0, abs=1e-3)
    assert found["lower"] and found["bound"] and not found["higher"]
    assert (found["together_pfml"], found["near_pfml"], found["near_cpml"], found["rest_pfml"]) == (0, 1, 0, 1)
    assert found["mean_distance"] < 1e-3


def test_corollary_1_is_wrong_when_both_proxies_start_on_one_side():
    """Both rest at 0.8, one stands for the embedding at -1: sqrt((0.2^2 + 1.8^2) / 2) against CPML's 1."""
    found = compared([[0.5, 0.0], [0.6, 0.0]], PAIR)
    assert found["w2_pfml"] == pytest.approx(np.sqrt((0.04 + 3.24) / 2), abs=1e-3)
    assert found["higher"] and not found["lower"] and not found["bound"] and found["together_pfml"] == 0.5


def test_one_embedding_gives_neither_field_an_advantage():
    found = compared([[1.0, 0.0]], [[0.0, 0.0]])
    assert found["w2_pfml"] == pytest.approx(0.2, abs=1e-3) == found["w2_cpml"]
    assert not found["lower"] and not found["higher"] and found["bound"]


def test_both_fields_leave_proxies_at_the_rim_of_a_cluster_inside_delta():
    found = compared(random(4, 3, seed=1), 0.02 * random(10, 3))
    assert found["w2_pfml"] == pytest.approx(found["w2_cpml"], rel=0.02)
    assert found["near_pfml"] == found["near_cpml"] == found["rest_pfml"] == found["rest_cpml"] == 1


@pytest.mark.parametrize("dimension, central", [(3, False), (9, True)])
def test_pfml_has_a_minimum_far_from_all_embeddings_when_dimensions_exceed_alpha_plus_2(dimension, central):
    points = simplex(dimension)
    found = compared(0.05 * random(2, dimension), points)
    assert (found["near_pfml"] == 0) == central and found["rest_pfml"] == 1
    assert found["lower"] == (not central)


def test_proxies_that_attract_each_other_end_together():
    """Each near an embedding of its own they part in the field alone; their mutual pull of 2 delta^-4 keeps them."""
    points = unit(np.array([[1.0, 0.3, 0.0], [1.0, -0.3, 0.0], [1.0, 0.0, 0.5]]))
    starts = unit(np.array([[1.0, 0.1, 0.0], [1.0, -0.1, 0.0]]))
    apart = theory.equilibrium(starts[None], points[None], PFML, "sphere")
    together = theory.equilibrium(starts[None], points[None], PFML, "mutual")
    still = theory.at_rest(together, points[None], PFML, "mutual")
    assert np.linalg.norm(apart[0, 0] - apart[0, 1]) > np.linalg.norm(together[0, 0] - together[0, 1])
    assert np.linalg.norm(together[0, 0] - together[0, 1]) <= 0.201 and still.all()


def test_two_at_one_minimum_are_together_however_the_nearest_embedding_is_chosen():
    """Both proxies rest on the surfaces of two balls at once, 1e-4 apart: nearest to one embedding and to the other."""
    place = np.array([0.0, np.sqrt(0.2**2 - 0.1**2)])
    points, ends = 0.1 * PAIR, place + np.array([[-5e-5, 0.0], [5e-5, 0.0]])
    assert np.unique(fields.distances(ends, points).argmin(-1)).size == 2
    for reach in corollary.PLACE.values():
        assert theory.together(ends[None], reach * 0.2) == [0.5]
    far = np.array([[0.0, 0.0], [0.015, 0.0], [0.03, 0.0], [1.0, 0.0]])
    assert theory.together(far[None], 0.02) == [0.5] and theory.together(far[None], 0.01) == [0.0]


def test_more_steps_change_no_place_among_two_embeddings(monkeypatch):
    """Nor does a proxy jump over a ball that holds it: 100 sets, twice the steps."""
    case = theory.Case(
        embeddings=2, proxies=2, dimension=2, groups=2, spread=0.0, start=1.0, alpha=3.0, delta=0.2
    )  # fmt: skip
    points, starts = case.draw(100, np.random.default_rng(0))
    few = theory.equilibrium(starts, points, PFML)
    monkeypatch.setitem(corollary.STEPS, "fixed", 2 * corollary.STEPS["fixed"])
    assert theory.equilibrium(starts, points, PFML) == pytest.approx(few, abs=0.02)
