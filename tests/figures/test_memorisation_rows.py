"""Wrong labels counted at the end of training: in runs made to fit or to resist them, and by class centres."""

import csv

import numpy as np
import pytest

from pfml.figures.memorisation import memorisation, nearest_centres, write_memorisation
from tests.evaluation.trained_study import make_study
from tests.retrieval.test_memorisation import at


def test_a_class_without_other_images_has_no_centre():
    """Label 1 has lost all its images and label 2 has one, which is asked: neither is at similarity 0 to anything."""
    points, labels = np.array([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0]]), np.array([0, 0, 2])
    assert nearest_centres(points, labels, np.array([2])) == [0]


def test_the_nearest_centre_leaves_the_sample_out():
    points, labels = at(0, 80, 90, 10, 20), np.array([0, 0, 0, 1, 1])
    np.testing.assert_array_equal(nearest_centres(points, labels, np.array([0, 1, 3])), [1, 0, 1])
    assert nearest_centres(at(0, 1, 30), np.array([7, 4, 4]), np.array([0])) == [4]


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
