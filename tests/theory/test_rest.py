"""Where charges hang: at kinks that hold them, and lower than all around."""

import numpy as np
import pytest

from pfml import theory
from pfml.theory import corollary
from pfml.theory.rest import unit
from tests.theory.cases import CPML, PAIR, PFML, outlier


def test_a_charge_hangs_at_the_kink_where_the_near_pull_wins():
    """Between embeddings at -1 and 1 a charge at 0.8 is held; a little to either side it is not."""
    near, far = PFML.pull(0.21), PFML.pull(1.79)
    at = np.array([[0.8, 0.0], [0.79, 0.0], [0.85, 0.0], [5.0, 0.0]])
    left = theory.unrest(at, PAIR, PFML, slack=0.002)
    assert left == pytest.approx([0.0, (near - far) / (near + far), 1.0, 1.0], abs=1e-9)
    force = theory.least_force(at, PAIR, PFML, slack=0.002)
    assert force[0] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert force[1:] == pytest.approx(theory.attraction_field(at, PAIR, PFML)[1][1:])


def test_a_kink_holds_only_as_much_as_its_pull():
    """17 far embeddings against one: at delta 0.4 the near one's whole pull is not enough."""
    law = theory.DecayingLaw(3.0, 0.4)
    at = np.array([[0.4, 0.0]])
    own, others = law.pull(0.4), 16 * law.pull(0.6)
    assert theory.unrest(at, outlier(), law, 0.004) == pytest.approx([(others - own) / (others + own)], rel=1e-3)
    assert theory.least_force(at, outlier(), law, 0.004)[0, 0] == pytest.approx(others - own, rel=1e-3)


def test_two_charges_hold_each_other_with_one_force():
    """Amid two embeddings a pair delta apart rests; moved aside it must go on, though either alone could be held."""
    pair = np.array([[-0.1, 0.0], [0.1, 0.0]])
    assert theory.unrest(pair, PAIR, PFML, 0.002, mutual=True) == pytest.approx([0.0, 0.0], abs=1e-9)
    assert (theory.unrest(pair + np.array([0.05, 0.0]), PAIR, PFML, 0.002, mutual=True) > 1e-5).all()
    assert (theory.unrest(pair, PAIR, PFML, 0.002) > 0.1).all()


@pytest.mark.parametrize("setting", ["fixed", "sphere", "mutual"])
@pytest.mark.parametrize("law", [PFML, CPML])
def test_what_is_at_rest_is_lower_than_all_around_it(monkeypatch, law, setting):
    monkeypatch.setattr(corollary, "STEPS", dict.fromkeys(corollary.STEPS, 2000))  # to about 1e-5 of the place
    draw = np.random.default_rng(3)
    points, starts = draw.normal(size=(4, 10, 5)), draw.normal(size=(4, 3, 5))
    keep = unit if setting != "fixed" else lambda at: at
    points, starts = keep(points), keep(starts)

    def energy(at):
        total = theory.attraction_field(at, points, law)[0].sum(-1)
        return total + (theory.attraction_field(at, at, law)[0].sum(-1) / 2 if setting == "mutual" else 0.0)

    end = theory.equilibrium(starts, points, law, setting)
    assert theory.at_rest(end, points, law, setting).all() and end == pytest.approx(keep(end))
    error = 1e-5 * law.pull(law.delta) * end.shape[-2]
    for _ in range(100):
        around = energy(keep(end + 0.05 * unit(draw.normal(size=end.shape))))
        assert (around > energy(end) - error).all()
