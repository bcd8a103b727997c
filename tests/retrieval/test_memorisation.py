"""Fitted and resisted wrong labels: told apart where they are known, by hand and in runs made to fit or to resist."""

import csv

import numpy as np
import pytest

from pfml.retrieval.memorisation import label_fit, neighborhoods, shares
from pfml.views.memorisation import memorisation, nearest_centres, write_memorisation
from tests.evaluation.trained_study import make_study


def at(*degrees):
    """Unit vectors of the plane."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_a_neighbourhood_is_what_most_of_the_others_carry():
    points, labels = at(0, 1, 2, 3, 90, 91, 92), np.array([5, 0, 0, 0, 1, 1, 5])
    np.testing.assert_array_equal(neighborhoods(points, labels, np.array([0, 6, 4]), k=3), [0, 1, 1])


def test_a_label_is_no_vote_for_itself():
    points, labels = at(0, 1, 2), np.array([7, 4, 4])
    assert neighborhoods(points, labels, np.array([0]), k=2) == [4]
    assert nearest_centres(at(0, 1, 30), np.array([7, 4, 4]), np.array([0])) == [4]


def test_of_equal_votes_the_nearest_counts():
    points, labels = at(0, 5, -6, 7, -8), np.array([9, 1, 2, 2, 1])
    assert neighborhoods(points, labels, np.array([0]), k=4) == [1]
    assert neighborhoods(points[[0, 2, 1, 4, 3]], labels, np.array([0]), k=4) == [2]


def test_a_class_without_other_images_has_no_centre():
    """Label 1 has lost all its images and label 2 has one, which is asked: neither is at similarity 0 to anything."""
    points, labels = np.array([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0]]), np.array([0, 0, 2])
    assert nearest_centres(points, labels, np.array([2])) == [0]


def test_the_nearest_centre_leaves_the_sample_out():
    points, labels = at(0, 80, 90, 10, 20), np.array([0, 0, 0, 1, 1])
    np.testing.assert_array_equal(nearest_centres(points, labels, np.array([0, 1, 3])), [1, 0, 1])


def test_shares_of_nothing_are_not_a_number():
    assert shares(np.array([1, 2, 3]), np.array([1, 0, 0]), np.array([0, 2, 3])) == (1 / 3, 2 / 3)
    assert np.isnan(shares(np.array([]), np.array([]), np.array([]))).all()


@pytest.fixture
def rows(tmp_path, tiny, write, monkeypatch):
    """pfml puts an image where it looks like, proxy_nca where its label says, cpml some here and some there."""
    monkeypatch.chdir(tmp_path)

    def places(run, given, true):
        if run.method == "cpml":
            return np.where(np.arange(len(given)) % 2, given, true)
        return given if run.method == "proxy_nca" else true

    grid = make_study(tmp_path, tiny, write, places)
    return {row["method"]: row for row in memorisation(grid)}


def test_runs_that_fit_or_resist_are_told_apart(rows):
    assert set(rows) == {"pfml", "cpml", "contrastive", "proxy_nca"} and {r["flipped"] for r in rows.values()} == {12}
    resisting, fitting, half = rows["pfml"], rows["proxy_nca"], rows["cpml"]
    assert (
        (resisting["fitted"], resisting["resisted"])
        == (0, 1)
        == (resisting["centre_fitted"], resisting["centre_resisted"])
    )
    assert (fitting["fitted"], fitting["resisted"]) == (1, 0) == (fitting["centre_fitted"], fitting["centre_resisted"])
    assert half["fitted"] + half["resisted"] == 1 and 0 < half["fitted"] < 1


def test_the_clean_run_is_asked_about_the_same_images(rows):
    assert {(row["clean_fitted"], row["clean_resisted"]) for row in rows.values()} == {(0, 1)}


def test_shares_are_written_and_what_is_missing_is_empty(rows, tmp_path):
    write_memorisation([rows["pfml"] | {"clean_fitted": None}], tmp_path / "new" / "a.csv")
    (row,) = csv.DictReader((tmp_path / "new" / "a.csv").open())
    assert (row["method"], row["noise"], row["flipped"], row["resisted"]) == ("pfml", "0.2", "12", "1.0000")
    assert row["clean_fitted"] == "" and row["clean_resisted"] == "1.0000"


def test_shares_of_all_wrong_labels_among_all_embeddings():
    """Of eight images by two centres two carry a wrong label: one lies with its kind, one with its label."""
    points = at(0, 1, 2, 3, 90, 91, 92, 2.5)
    true, given = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 0, 1, 1, 1, 1, 0])
    assert label_fit(points, given, true) == (0.5, 0.5)
    assert label_fit(5 * points, given, true) == (0.5, 0.5)
    assert np.isnan(label_fit(points, true, true)).all()
