"""Potentials and forces where they can be done by hand, and against each other."""

import numpy as np
import pytest

from pfml import theory
from tests.theory.cases import CPML, LAWS, PFML, random


def test_potentials_of_one_charge_by_hand():
    at = np.array([[0.1, 0.0], [0.2, 0.0], [0.4, 0.0]])
    charge, label = np.zeros((1, 2)), np.array([0])
    pulled, force = theory.class_field(at, charge, label, 0, PFML)
    assert pulled == pytest.approx([0.0, 0.0, 125 - 15.625])
    assert force[:, 0] == pytest.approx([0.0, 0.0, -3 / 0.4**4]) and not force[:, 1].any()
    pushed, force = theory.class_field(at, charge, label, 1, PFML)
    assert pushed == pytest.approx([1000 - 125, 0.0, 0.0]) and force[:, 0] == pytest.approx([3 / 0.1**4, 0.0, 0.0])
    pulled, force = theory.class_field(at, charge, label, 0, CPML)
    assert pulled == pytest.approx([0.0, 0.0, 0.16 - 0.04]) and force[2, 0] == pytest.approx(-0.8)
    pushed, force = theory.class_field(at, charge, label, 1, CPML)
    assert pushed == pytest.approx([0.01, 0.0, 0.0]) and force[0, 0] == pytest.approx(0.2)
    pulled, force = theory.class_field(at, charge, label, 0, LAWS[1])
    assert pulled == pytest.approx([0.0, 0.0, np.log(2)]) and force[2, 0] == pytest.approx(-2.5)


@pytest.mark.parametrize("law", LAWS)
def test_force_is_minus_the_gradient_of_the_potential(law):
    draw = np.random.default_rng(1)
    points, labels = draw.uniform(-1, 1, (7, 3)), np.arange(7) % 2
    at, step = draw.uniform(-1, 1, (20, 3)), 1e-6
    fields = [
        lambda at: theory.class_field(at, points, labels, 1, law),
        lambda at: theory.attraction_field(at, points, law),
    ]
    for field in fields:
        _, force = field(at)
        for axis in range(3):
            shift = step * np.eye(3)[axis]
            slope = (field(at + shift)[0] - field(at - shift)[0]) / (2 * step)
            assert -slope == pytest.approx(force[:, axis], rel=1e-4, abs=1e-4)


def test_the_attraction_of_many_sets_is_that_of_each():
    points, at = random(3, 6, 4), random(3, 5, 4, seed=1)
    potential, force = theory.attraction_field(at, points, PFML)
    for i in range(3):
        one = theory.class_field(at[i], points[i], np.zeros(6), 0, PFML)
        assert potential[i] == pytest.approx(one[0]) and force[i] == pytest.approx(one[1])


def test_the_law_at_alpha_zero_is_that_of_the_loss():
    import torch

    from pfml.losses.field.potential_field import PowerLaw

    d = np.array([0.25, 0.5, 1.0])
    height, slope = LAWS[1].attraction(d)
    squares, energy, derivative = torch.tensor(d**2), torch.empty(3).double(), torch.empty(3).double()
    PowerLaw(0.0, 0.2, 0.2, 1e-3).attraction(squares, energy, derivative)
    assert height == pytest.approx(energy.numpy()) and slope == pytest.approx(2 * d * derivative.numpy())
