"""`make verify`: what counts as reproduced, what differs and by how much, on a repository with committed results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pfml.launch import verify
from pfml.launch.verify import BEYOND, CLOSE, EQUAL, check_runs, describe, exit_code
from pfml.settings.load import load_params, params_from
from pfml.settings.runs import ablation_runs, fold_runs, grid_runs, planned_runs
from pfml.settings.stages import measured_by, stages_of
from pfml.tracking.provenance import machine, record
from tests.conftest import ROOT
from tests.report.report_runs import write

ORIGIN = {"processes": 1, "git_commit": "abc", "mlflow_run": "", "seconds": 1.5}
WEIGHTS = "0123456789abcdef"


def git(*arguments):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True)


@pytest.fixture
def runs(tiny, tmp_path, monkeypatch):
    """Four runs with committed results, which this clone has trained; glyphs-all has three seeds of PFML at 20 %."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    runs = grid_runs(params_from(tiny, "params.yaml"))[:4]
    for run in runs:
        write(Path("reports"), run, 0.5, weights=WEIGHTS)
        record(run, machine(True) | ORIGIN, WEIGHTS)
    for seed, recall in enumerate((0.50, 0.52, 0.54)):  # a standard deviation of 2 points
        other = next(run for run in runs if (run.method, run.noise) == ("pfml", 0.2))
        path = Path(f"reports/runs/glyphs-all/{seed}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        result = json.loads(other.paths().result.read_text()) | {"recall@1": recall, "seed": seed}
        path.write_text(json.dumps(result))
    git("init", "-q")
    git("add", "reports/runs")
    git("commit", "-qm", "results")
    return runs


def change(run, **values):
    path = run.paths().result
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_equal_results_of_this_clone_are_reproduced(runs):
    checks = check_runs(runs)
    assert [check.status for check in checks] == ["equal"] * 4 and exit_code(checks) == EQUAL
    assert describe(checks) == f"4 of 4 runs reproduced to the bit on {verify.processor()}"


@pytest.mark.parametrize(("recall", "code"), [(0.536, CLOSE), (0.464, CLOSE), (0.546, BEYOND)])
def test_a_difference_is_told_in_points_and_spreads(runs, recall, code):
    run = next(run for run in runs if (run.method, run.noise) == ("pfml", 0.2))
    change(run, **{"recall@1": recall})
    checks = check_runs(runs)
    assert exit_code(checks) == code
    text = describe(checks)
    assert "3 of 4 runs" in text and f"R@1 50.00 → {100 * recall:.2f} ({100 * recall - 50:+.2f} points; " in text
    assert f"{abs(recall - 0.5) / 0.02:.1f} of its spread over seeds, 2.0)" in text


def test_another_measure_that_differs_is_named_and_no_bits(runs):
    change(runs[0], nmi=0.123)
    assert exit_code(check_runs(runs)) == CLOSE and "nmi" in describe(check_runs(runs))


def test_committed_results_of_another_kind_of_processor_are_said_to_be_so(runs):
    path = Path("reports/provenance/tiny.csv")
    here = machine(True)["kind"]
    path.write_text(path.read_text().replace(f",{here},", ",Another kind,"))
    git("add", "reports/provenance")
    git("commit", "-qm", "trained elsewhere")
    [line, *_] = describe(check_runs(runs)).splitlines()
    assert (
        line == f"committed and here on other kinds of processors: Another kind and {here}; equal bits are not expected"
    )


def test_what_this_clone_did_not_train_proves_nothing(runs):
    Path(f".provenance/{runs[0].digest}.json").unlink()  # restored from DVC's cache, or from Git
    checks = check_runs(runs)
    assert [check.status for check in checks] == ["not trained here", "equal", "equal", "equal"]
    assert exit_code(checks) == EQUAL and "1 not verified, since this clone has not trained" in describe(checks)
    change(runs[1], weights="f" * 16)  # a result of other weights than this clone's
    kept = Path(f".provenance/{runs[2].digest}.json")
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"processor": "another"}))
    assert [check.status for check in check_runs(runs)][:3] == ["not trained here"] * 3
    for run in runs:
        Path(f".provenance/{run.digest}.json").unlink(missing_ok=True)
    assert exit_code(check_runs(runs)) == BEYOND, "nothing was verified"


def test_other_settings_and_missing_results_are_told_apart(runs, tiny):
    tiny["field"]["pfml"]["loss"] = {"alpha": 1.5}
    tiny["grid"]["seed"] = [0, 1]
    moved = grid_runs(params_from(tiny, "params.yaml"))[:2]
    for run in moved:
        write(Path("reports"), run, 0.5, weights=WEIGHTS)
        record(run, machine(True) | ORIGIN, WEIGHTS)
    assert [check.status for check in check_runs(moved)] == ["settings differ", "not committed"]


def test_a_sample_is_spread_over_the_study_and_its_stages_exist(monkeypatch):
    monkeypatch.chdir(ROOT)
    params = load_params()
    runs = planned_runs(params)
    chosen = verify.sample(runs, 3)
    assert len({run.name for run in chosen}) == 3 and any(run.axis for run in chosen)
    assert len(verify.sample(runs, 1000)) == len(runs)
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"], capture_output=True, text=True, check=True
    ).stdout.split()
    runs, fields = grid_runs(params) + ablation_runs(params), params.grid.field + params.mlrc.field
    pairs = dict(stages_of(run, fields) for run in runs)
    assert {*pairs, *pairs.values()} <= set(listed) and all(measured_by(name) == pairs[name] for name in pairs)
    assert fold_runs(params) == []
