"""Few-shot accuracy against scikit-learn's nearest centroid on the same episodes, and on classes that decide it."""

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from pfml.evaluation.few_shot import QUERIES, WAYS, _draws, few_shot_accuracy


@pytest.fixture
def data():
    random = np.random.default_rng(3)
    labels = np.repeat(np.arange(8), 21)
    return random.normal(size=(8, 6))[labels] + random.normal(size=(len(labels), 6)), labels


@pytest.mark.parametrize("shots", [1, 5])
def test_it_is_the_accuracy_of_the_nearest_centroid(data, shots):
    embeddings, labels = data
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    found = []
    for rows in _draws(labels, shots, 30):
        assert rows.shape == (WAYS, shots + QUERIES) and len(np.unique(rows)) == rows.size
        assert (labels[rows] == labels[rows[:, :1]]).all() and len(set(labels[rows[:, 0]])) == WAYS
        shown, asked = rows[:, :shots].ravel(), rows[:, shots:].ravel()
        found.append(NearestCentroid().fit(units[shown], labels[shown]).score(units[asked], labels[asked]))
    assert few_shot_accuracy(embeddings, labels, shots, 30) == pytest.approx(np.mean(found))
    assert 0.3 < np.mean(found) < 0.98


def test_lengths_do_not_count_and_more_shots_help(data):
    embeddings, labels = data
    scaled = embeddings * np.random.default_rng(0).uniform(0.1, 10, (len(labels), 1))
    one, five = (few_shot_accuracy(embeddings, labels, shots, 200) for shots in (1, 5))
    assert few_shot_accuracy(scaled, labels, 1, 200) == pytest.approx(one) and five > one + 0.02


def test_apart_is_certain_and_noise_is_chance(data):
    _, labels = data
    assert few_shot_accuracy(np.eye(8)[labels], labels, 1, 50) == 1
    random = np.random.default_rng(1).normal(size=(len(labels), 6))
    assert few_shot_accuracy(random, labels, 1, 300) == pytest.approx(1 / WAYS, abs=0.02)


def test_classes_that_are_too_small_are_not_asked(data):
    embeddings, labels = data
    few = np.concatenate([np.flatnonzero(labels == one)[: 21 if one < 5 else 15] for one in range(8)])
    assert {*np.concatenate([labels[rows[:, 0]] for rows in _draws(labels[few], 1, 40)])} == set(range(5))
    assert few_shot_accuracy(embeddings[few], labels[few], 5) is not None
    assert few_shot_accuracy(embeddings[labels < 4], labels[labels < 4], 1) is None, "four classes are no five ways"


@pytest.mark.parametrize("width", [1e-3, 1e-5, 1e-6])
def test_points_in_a_narrow_cone_are_told_apart(data, width):
    """Nearly collapsed networks put all images there; against the differences themselves in extended precision."""
    embeddings, labels = data
    axis = np.zeros((1, 7))
    axis[0, 6] = 1
    flat = np.concatenate([embeddings, np.zeros((len(labels), 1))], axis=1)  # the tangent plane: lengths do not count
    cone = (axis + width * flat).astype(np.float32)
    units = cone.astype(np.longdouble)
    units /= np.sqrt((units**2).sum(1, keepdims=True))
    hits = []
    for rows in _draws(labels, 5, 40):
        means = units[rows[:, :5]].mean(1)
        nearest = ((units[rows[:, 5:]][:, :, None] - means) ** 2).sum(3).argmin(2)
        hits.append((nearest == np.arange(WAYS)[:, None]).mean())
    assert few_shot_accuracy(cone, labels, 5, 40) == pytest.approx(np.mean(hits), abs=1e-12)
