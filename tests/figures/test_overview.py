"""Figure 1 shows what the loss does: its forces are those of the class fields, its steps lower its energy."""

import numpy as np
import pytest

from pfml.figures.overview import BATCH, CLASSES, PROXIES, STEPS, overview
from pfml.theory.fields import DecayingLaw, class_field


@pytest.fixture(scope="module")
def scene():
    return overview(alpha=2.0, delta=0.25)


def test_it_holds_a_batch_and_all_proxies_on_the_sphere(scene):
    assert (~scene.proxy).sum() == CLASSES * BATCH and scene.proxy.sum() == CLASSES * PROXIES
    assert scene.path.shape == (STEPS + 1, len(scene.points), 3) and scene.energy.shape == (STEPS + 1,)
    np.testing.assert_allclose(np.linalg.norm(scene.path, axis=2), 1)
    np.testing.assert_array_equal(scene.path[0], scene.points)


def test_forces_are_those_of_the_class_fields(scene):
    """Twice the field's force along the sphere, since each pair stands in the energy twice."""
    for i, (at, label) in enumerate(zip(scene.points, scene.labels)):
        others = np.arange(len(scene.points)) != i
        _, force = class_field(at, scene.points[others], scene.labels[others], label, scene.law)
        np.testing.assert_allclose(scene.force[i], 2 * (force - (force @ at) * at), rtol=1e-5, atol=1e-4)


def test_steps_lower_the_energy_and_bring_own_classes_near(scene):
    assert scene.energy[-1] < 0.5 * scene.energy[0]
    assert scene.own_nearest(STEPS) > scene.own_nearest(0)


def test_potentials_are_low_at_own_points_and_high_at_others(scene):
    assert scene.law == DecayingLaw(2.0, 0.25)
    for own in range(CLASSES):
        ticks, potential = scene.potential(own, cells=81)
        places = np.abs(scene.points[:, None, :2] - ticks[:, None]).argmin(1)  # nearest tick in x and y
        at_points = potential[places[:, 1], places[:, 0]]
        mine = scene.labels == own
        assert np.median(at_points[mine]) < np.median(potential) < np.median(at_points[~mine])


def test_it_is_the_same_every_time(scene):
    np.testing.assert_array_equal(scene.path, overview(alpha=2.0, delta=0.25).path)
