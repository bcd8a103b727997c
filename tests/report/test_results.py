"""Which result files count, and what is said of one that cannot be read."""

import csv
import json
from dataclasses import replace

import pandas as pd
import pytest
from report_runs import write, write_wasserstein
from report_studies import pick, together, toy, write_all

from pfml.report.files import write_results_csv
from pfml.report.groups import over_seeds, points_of, summarize, sweeps_of
from pfml.report.inputs import read_runs
from pfml.report.results import Summary, histories


@pytest.fixture
def run():
    (run,) = pick(toy(), "pfml", 0.0, 0, axis="")
    return run


def found(studies, run):
    """The row of a run of the grid."""
    grid = studies.grid
    return grid[(grid.study == run.study) & (grid.run_name == run.name)].iloc[0]


def test_a_result_is_taken_by_its_digest_and_never_by_its_name(tmp_path, run):
    (older,) = pick(toy(loss={"alpha": 5.0}), "pfml", 0.0, 0, axis="")
    assert older.name == run.name and older.digest != run.digest
    write(tmp_path, older, 0.9)
    studies = together(tmp_path, toy())
    assert not studies.runs.measured.any() and not studies.files.current.any()
    assert studies.files.digest.tolist() == [older.digest]


def test_one_digest_serves_a_run_of_the_grid_and_a_point_of_an_ablation(tmp_path, run):
    write(tmp_path, run, 0.7)
    rows = together(tmp_path, toy(ablation={"alpha": [3]})).runs
    rows = rows[rows.digest == run.digest]
    assert rows.kind.tolist() == ["grid", "default", "ablation"] and rows["recall@1"].tolist() == [0.7] * 3


def test_of_two_files_with_one_digest_the_runs_own_comes_first(tmp_path, run):
    write(tmp_path, run, 0.7)
    write(tmp_path, replace(run, study="another"), 0.6)
    studies = together(tmp_path, toy(), toy(study="another"), toy(study="third"))
    values = [found(studies, replace(run, study=name))["recall@1"] for name in ("toy", "another", "third")]
    assert values == [0.7, 0.6, 0.6], "a study without a file of its own takes the first"


def test_w2_is_read_with_its_run_and_one_without_has_none(tmp_path, run):
    (other,) = pick(toy(), "cpml", 0.0, 0)
    write(tmp_path, run, 0.7)
    write(tmp_path, other, 0.6)
    write_wasserstein(tmp_path, [(run, 0.25, 1.5)])
    studies = together(tmp_path, toy())
    assert found(studies, run)[["w2", "w2_relative"]].tolist() == [0.25, 1.5]
    assert pd.isna(found(studies, other).w2)


def test_w2_of_a_run_that_two_studies_share_is_that_of_its_own_study(tmp_path, run):
    """One digest, but each study may have another reading of the measure."""
    names = ("toy", "toy-sum")
    for name, w2 in zip(names, (0.25, 0.97)):
        write(tmp_path, replace(run, study=name), 0.7)
        write_wasserstein(tmp_path, [(run, w2, 1.5)], name)
    studies = together(tmp_path, *(toy(study=name) for name in names))
    assert [found(studies, replace(run, study=name)).w2 for name in names] == [0.25, 0.97]


def test_mean_and_sample_deviation_over_seeds(tmp_path):
    study = toy(grid={"seed": [0, 1, 2, 3]})
    for run, recall in zip(pick(study, "pfml", axis=""), (0.6, 0.7, 0.8)):
        write(tmp_path, run, recall)
    grid = together(tmp_path, study).grid
    rows = grid[(grid.method == "pfml") & (grid.noise == 0)]
    summary = summarize(rows, "recall@1")
    assert summary.mean == pytest.approx(0.7) and summary.std == pytest.approx(0.1)
    assert (summary.n, summary.expected) == (3, 4)
    assert summarize(rows[:1], "recall@1").std is None
    assert summarize(rows, "nmi") == summarize(rows, "recall@1000") == Summary(None, None, 0, 4)
    by_method = over_seeds(grid[grid.noise == 0], "method", "recall@1")
    assert list(by_method) == ["pfml", "cpml", "proxy_anchor", "soft_triple"] and by_method["pfml"] == summary


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"map@r": "drop"}, r"map@r: missing"),
        ({"recall@1": 71.2}, r"recall@1: expected a fraction.*71.2.*percent"),
        ({"recall@4": -0.1}, r"recall@4: expected a fraction"),
        ({"recall@1": None}, r"recall@1: expected a finite number, found None"),
        ({"seed": "0"}, r"seed: Input should be a valid integer, found '0'"),
        ({"noise": True}, r"noise: expected a finite number, found True"),
        ({"digest": "short"}, r"digest: .* found 'short'"),
    ],
)
def test_a_bad_file_is_named_with_its_key(tmp_path, run, change, words):
    path = write(tmp_path, run, 0.7)
    raw = {k: v for k, v in (json.loads(path.read_text()) | change).items() if v != "drop"}
    path.write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=rf"{path.name}: {words}"):
        read_runs(tmp_path / "runs")


@pytest.mark.parametrize("text", ['{"study": "toy"', "[1, 2]"])
def test_a_broken_file_is_named(tmp_path, run, text):
    path = write(tmp_path, run, 0.7)
    path.write_text(text)
    with pytest.raises(ValueError, match=path.name):
        read_runs(tmp_path / "runs")


@pytest.mark.parametrize(("key", "value"), [("w2", "far"), ("w2_relative", float("nan")), ("w2_measure", 3)])
def test_a_w2_that_is_none_is_named(tmp_path, run, key, value):
    path = write(tmp_path, run, 0.7, **{"w2": 0.1, "w2_relative": 1.0, "w2_measure": "sum"} | {key: value})
    with pytest.raises(ValueError, match=rf"{path.name}: {key}: "):
        together(tmp_path, toy())


def test_nothing_on_disk_is_a_frame_without_measures(tmp_path):
    studies = together(tmp_path, toy())
    assert len(studies.grid) == len(toy().grid) and not studies.runs.measured.any() and studies.files.empty


def test_results_csv_has_a_line_per_run_of_every_study_whatever_the_order_of_files(tmp_path):
    study = toy(ablation={"alpha": [2]})
    runs = [
        *pick(study, "pfml", axis="")[::-1],
        *pick(study, "cpml", 0.2, 0),
        *pick(study, "pfml", seed=0, axis="alpha"),
    ]
    for run in runs:
        write(tmp_path, run, 0.123456789, folder="ablation" if run.axis else "")
    write(tmp_path, replace(runs[0], study="cars", dataset="cars196"), 0.5, digest="0" * 16)
    files = together(tmp_path, study).files
    write_results_csv(files, tmp_path / "results.csv")
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [(r["study"], r["method"], r["seed"], r["status"]) for r in rows] == [
        ("cars", "pfml", "1", "other"),
        ("toy", "cpml", "0", "current"),
        ("toy", "pfml", "0", "current"),
        ("toy", "pfml", "1", "current"),
        ("toy", "pfml", "0", "current"),
    ]
    assert rows[2]["recall@1"] == "0.123457" and rows[2]["nmi"] == "" and rows[4]["value"] == "2"
    assert rows[0]["digest"] == "0" * 16 and rows[0]["best_epoch"] == "3"
    assert not {"seconds", "git_commit", "mlflow_run"} & set(rows[0]) and rows[0]["weights"] == ""


def test_histories_come_with_empty_cells_as_none(tmp_path):
    (run,) = pick(toy(), "pfml", 0.2, 0)
    path = write(tmp_path, run, 0.7, epochs=2)
    path.with_suffix(".csv").write_text("epoch,loss,lr,recall@1,map@r,seconds\n1,9.5,0.1,,,1\n2,3,0.1,0.5,0.2,2\n")
    ((method, noise, rows),) = histories(together(tmp_path, toy()).grid)
    assert (method, noise) == ("pfml", 0.2)
    assert [r["recall@1"] for r in rows] == [None, 0.5] and rows[0]["loss"] == 9.5


def test_a_sweep_puts_the_default_between_the_other_points(tmp_path):
    study = toy(ablation={"alpha": [5, 1]})
    write_all(tmp_path, study, {"pfml": 0.7})
    (sweep,) = sweeps_of(together(tmp_path, study), "alpha")
    points = points_of(sweep, "recall@1")
    assert list(points) == [1, 3, 5] and {summary.n for summary in points.values()} == {2}
    assert sweep.kind.tolist()[:2] == ["default", "default"]


def test_a_swept_point_that_equals_the_default_is_one_run_and_counts_once(tmp_path):
    """`dvc exp run -S loss.alpha=4` while the list of alphas holds 4: one digest, so n = 1 and no spread."""
    study = toy(loss={"alpha": 4.0}, ablation={"alpha": [4, 1]}, grid={"seed": [0]})
    write_all(tmp_path, study, {"pfml": 0.7})
    (sweep,) = sweeps_of(together(tmp_path, study), "alpha")
    points = points_of(sweep, "recall@1")
    assert list(points) == [1, 4] and (points[4.0].n, points[4.0].expected, points[4.0].std) == (1, 1, None)
