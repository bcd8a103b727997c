"""Which result files count, and what is said of one that cannot be read."""

import csv
import dataclasses
import json
from dataclasses import replace

import pytest
from report_runs import Run, write, write_wasserstein

from pfml.report import ledger


def test_a_result_is_taken_by_its_digest_and_never_by_its_name(tmp_path):
    wanted = Run("pfml")
    older = replace(wanted, alpha=5.0)
    assert older.name == wanted.name and older.digest != wanted.digest
    write(tmp_path, older, 0.9)
    found = ledger.read_ledger(tmp_path, [wanted])
    assert found.find(wanted) is None and found.current == ()
    assert [r.digest for r in found.others] == [older.digest]


def test_one_digest_serves_a_grid_cell_and_an_ablation_point(tmp_path):
    run = Run("pfml")
    write(tmp_path, run, 0.7)

    class Point(Run):
        digest = run.digest

    point = Point("pfml", axis="alpha", value=3)
    found = ledger.read_ledger(tmp_path, [run, point])
    assert found.find(point).numbers["recall@1"] == found.find(run).numbers["recall@1"] == 0.7


def test_of_two_files_with_one_digest_the_cells_own_comes_first(tmp_path):
    run = Run("pfml")
    write(tmp_path, run, 0.7)
    write(tmp_path, replace(run, study="another"), 0.6)
    found = ledger.read_ledger(tmp_path, [run])
    assert found.find(run).numbers["recall@1"] == 0.7
    assert found.find(replace(run, study="another")).numbers["recall@1"] == 0.6


def test_w2_is_joined_by_digest(tmp_path):
    run, other = Run("pfml"), Run("triplet")
    write(tmp_path, run, 0.7)
    write(tmp_path, other, 0.6)
    write_wasserstein(tmp_path, [(run, 0.25, 1.5)])
    found = ledger.read_ledger(tmp_path, [run, other])
    assert (found.find(run).numbers["w2"], found.find(run).numbers["w2_relative"]) == (0.25, 1.5)
    assert found.find(other).numbers["w2"] is None


def test_w2_of_a_run_that_two_studies_share_is_that_of_its_own_study(tmp_path):
    """One digest, but each study may have another reading of the measure."""
    first, second, third = (replace(Run("pfml"), study=study) for study in ("toy", "toy-sum", "unmeasured"))
    for run, w2 in ((first, 0.25), (second, 0.97), (third, None)):
        write(tmp_path, run, 0.7)
        if w2:
            write_wasserstein(tmp_path, [(run, w2, 1.5)], run.study)
    found = ledger.read_ledger(tmp_path, [first, second, third])
    assert [found.find(run).numbers["w2"] for run in (first, second, third)] == [0.25, 0.97, 0.25]


def test_mean_and_sample_deviation_over_seeds(tmp_path):
    runs = [Run("pfml", seed=seed) for seed in range(4)]
    for run, recall in zip(runs, (0.6, 0.7, 0.8)):
        write(tmp_path, run, recall)
    found = ledger.read_ledger(tmp_path, runs)
    summary = ledger.summarise(found, runs, "recall@1")
    assert summary.mean == pytest.approx(0.7) and summary.std == pytest.approx(0.1)
    assert (summary.n, summary.expected) == (3, 4)
    assert ledger.summarise(found, runs[:1], "recall@1").std is None
    assert ledger.summarise(found, runs, "nmi") == ledger.Summary(None, None, 0, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"map@r": "drop"}, r"map@r: missing"),
        ({"recall@1": 71.2}, r"recall@1: expected a fraction.*71.2.*percent"),
        ({"recall@4": -0.1}, r"recall@4: expected a fraction"),
        ({"recall@1": None}, r"recall@1: expected int or float, found None"),
        ({"seed": "0"}, r"seed: expected int, found '0'"),
        ({"seconds": float("inf")}, r"seconds: expected a finite number"),
        ({"noise": True}, r"noise: expected int or float, found True"),
        ({"digest": "short"}, r"digest: expected 16 hexadecimal digits, found 'short'"),
    ],
)
def test_a_bad_file_is_named_with_its_key(tmp_path, change, words):
    path = write(tmp_path, Run("pfml"), 0.7)
    raw = {k: v for k, v in (json.loads(path.read_text()) | change).items() if v != "drop"}
    path.write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=rf"{path.name}: {words}"):
        ledger.read_runs(tmp_path / "runs")


@pytest.mark.parametrize("text", ['{"study": "toy"', "[1, 2]"])
def test_a_broken_file_is_named(tmp_path, text):
    path = write(tmp_path, Run("pfml"), 0.7)
    path.write_text(text)
    with pytest.raises(ValueError, match=path.name):
        ledger.read_runs(tmp_path / "runs")


def test_a_w2_file_without_its_column_is_named(tmp_path):
    write(tmp_path, Run("pfml"), 0.7)
    write_wasserstein(tmp_path, [])
    path = tmp_path / "wasserstein" / "toy" / "glyphs.csv"
    path.write_text("cell,digest,w2\na,b,0.1\n")
    with pytest.raises(ValueError, match=r"glyphs.csv: w2_relative: missing column"):
        ledger.read_ledger(tmp_path, [])


def test_nothing_on_disk_is_an_empty_ledger(tmp_path):
    assert ledger.read_ledger(tmp_path, [Run("pfml")]) == ledger.Ledger((), ())


def test_results_csv_has_a_line_per_run_of_every_study_whatever_the_order_of_files(tmp_path):
    runs = [Run("pfml", seed=1), Run("pfml", seed=0), Run("cpml", noise=0.2), Run("pfml", axis="alpha", value=2)]
    for run in runs:
        write(tmp_path, run, 0.123456789, folder="ablation" if run.axis else "")
    write(tmp_path, Run("pfml", study="cars", dataset="cars196", alpha=9.0), 0.5)
    found = ledger.read_ledger(tmp_path, runs)
    ledger.write_results_csv(found, tmp_path / "results.csv")
    text = (tmp_path / "results.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert [(r["study"], r["method"], r["seed"], r["status"]) for r in rows] == [
        ("cars", "pfml", "0", "other"),
        ("toy", "cpml", "0", "current"),
        ("toy", "pfml", "0", "current"),
        ("toy", "pfml", "1", "current"),
        ("toy", "pfml", "0", "current"),
    ]
    assert rows[2]["recall@1"] == "0.123457" and rows[2]["nmi"] == "" and rows[4]["value"] == "2"
    shuffled = ledger.Ledger(found.current[::-1], found.others)
    ledger.write_results_csv(shuffled, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == text


def test_histories_come_with_empty_cells_as_none(tmp_path):
    run = Run("pfml", noise=0.2)
    path = write(tmp_path, run, 0.7)
    path.with_suffix(".csv").write_text("epoch,loss,lr,recall@1,map@r,seconds\n1,9.5,0.1,,,1\n2,3,0.1,0.5,0.2,2\n")
    ((method, noise, rows),) = ledger.histories(ledger.read_ledger(tmp_path, [run]), [run])
    assert (method, noise) == ("pfml", 0.2)
    assert [r["recall@1"] for r in rows] == [None, 0.5] and rows[0]["loss"] == 9.5


def test_a_sweep_puts_the_default_between_the_other_points():
    base = [Run("pfml", seed=s) for s in (0, 1)]
    runs = [Run("pfml", seed=s, axis="alpha", value=v) for v in (5, 1) for s in (0, 1)]
    points = ledger.Sweep("alpha", 3.0, base, runs).points()
    assert [value for value, _ in points] == [1, 3, 5]
    assert points[1][1] == base and [c.seed for c in points[0][1]] == [0, 1]


def test_a_swept_point_that_equals_the_default_is_one_run_and_counts_once():
    """`dvc exp run -S loss.alpha=4` while the list of alphas holds 4: one digest, so n = 1 and no spread."""

    @dataclasses.dataclass(frozen=True)
    class Point:
        digest: str
        value: float | None = None

    sweep = ledger.Sweep("alpha", 4.0, [Point("a")], [Point("a", 4), Point("b", 1)])
    assert [(value, [c.digest for c in runs]) for value, runs in sweep.points()] == [(1.0, ["b"]), (4.0, ["a"])]
