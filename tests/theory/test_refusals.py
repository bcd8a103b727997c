"""Bad input is refused, and the message says what was expected."""

import numpy as np
import pytest

from pfml import theory
from tests.theory.cases import PAIR, PFML, random


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: theory.DecayingLaw(-1.0, 0.2), "alpha >= 0, found -1"),
        (lambda: theory.DecayingLaw(float("nan"), 0.2), "alpha"),
        (lambda: theory.DecayingLaw(3.0, 0.0), "delta > 0.001, found 0.0"),
        (lambda: theory.GrowingLaw(-0.2), "GrowingLaw: expected delta"),
        (lambda: theory.class_field(np.zeros((5, 3)), np.zeros((4, 2)), np.zeros(4), 0, PFML), "class_field"),
        (lambda: theory.attraction_field(np.zeros((5, 3)), np.zeros((4, 2)), PFML), r"\(5, 3\), \(4, 2\)"),
        (lambda: theory.attraction_field(np.full((5, 2), np.nan), np.zeros((4, 2)), PFML), "nan"),
        (lambda: theory.has_minimum(PAIR, PFML, np.random.default_rng(0)), r"\(T, n, D\)"),
        (lambda: theory.guaranteed_radius(np.zeros((1, 2)), 3.0), "two or more distinct"),
        (lambda: theory.radial_radius(np.zeros((2, 3, 2)), 3.0), "two or more distinct"),
        (
            lambda: theory.equilibrium(PAIR[None], PAIR[None], PFML, "free"),
            "one of fixed, sphere, mutual, found 'free'",
        ),
        (lambda: theory.equilibrium(2 * PAIR[None], PAIR[None], PFML, "sphere"), "unit vectors"),
        (lambda: theory.compare(random(1, 3, 2), PAIR[None], PFML), "2 embeddings, fewer than its 3 proxies"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
