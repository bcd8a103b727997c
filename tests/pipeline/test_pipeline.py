"""The real pipeline: real DVC, MLflow on SQLite and faiss, on a tiny grid, in a temporary clone."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.losses.toy_loss import add_toy_loss
from tests.pipeline.clones import ENVIRONMENT, REPRO, clone, commit, mlflow_runs, ran, results, sh

# A test that is the first to need the studies waits for them: minutes, on a slow machine a quarter of an hour.
pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1800)]
PFML = (sys.executable, "-m", "pfml")
VERIFY = (*PFML, "verify")
RUNS = 6  # of the tiny study: four of the grid, two ablations


def repro_until(folder, text):
    """`make repro` in a process group of its own, still at work when `text` has been printed."""
    process = subprocess.Popen(
        REPRO, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    for line in process.stdout:
        if text in line:
            return process
    raise AssertionError(f"{text!r} was never printed")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A clone in which `make repro` has run once, with everything committed. It was killed as a group on the way: in
    the first epoch, and when a run had its result, which is the commit `half`.
    """
    folder = clone(tmp_path_factory.mktemp("clone"))
    for text in ("epoch   1/2", "MAP@R"):
        process = repro_until(folder, text)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    commit(folder, "half of the results")
    sh(folder, "git", "tag", "half")
    out = sh(folder, *REPRO)
    assert "done in" in out
    commit(folder, "results")
    return folder


def test_everything_is_there(project):
    tables = (project / "reports/tables.md").read_text()
    assert [int(n) for n in re.findall(r"^## Table (\d)$", tables, re.M)] == list(range(1, 10))
    rows = results(project)
    assert len(rows) == 6 and {row["status"] for row in rows} == {"current"}
    assert {row["method"] for row in rows} == {"pfml", "contrastive"}
    assert {row["axis"] for row in rows} == {"", "alpha", "delta_gap"}
    assert all(0 < float(row["recall@1"]) < 1 for row in rows)
    assert all(bool(row["w2"]) == (row["method"] != "contrastive") for row in rows if not row["axis"])
    theory = list(csv.DictReader((project / "reports/theory.csv").open()))
    assert [row["statement"] for row in theory] == 3 * ["proposition 1"] + 3 * ["corollary 1"]
    assert (project / "reports/theory.md").read_text().count("\n| base |") == 3
    drawn = ("training", "ablations", "search", "field", "overview", "forces")
    for name in (*drawn, *(f"{kind}-glyphs" for kind in ("gallery", "tsne", "proxies", "memorisation"))):
        assert (project / f"reports/figures/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (project / f"reports/figures/{name}.pdf").read_bytes().startswith(b"%PDF")
    page = (project / "reports/index.html").read_text()
    assert page.count("data:image/png;base64,") == len(list((project / "reports/figures").glob("*.png")))
    fitted = list(csv.DictReader((project / "reports/figures/memorisation-glyphs.csv").open()))
    assert [row["method"] for row in fitted] == ["pfml", "contrastive"] and {row["flipped"] for row in fitted} == {
        "800"
    }
    for row in fitted:  # the last look while the run trained is the one at its end
        history = csv.DictReader((project / f"models/grid/glyphs/{row['method']}-0.2-0/history.csv").open())
        last = list(history)[-1]
        assert float(last["fitted"]) == pytest.approx(float(row["fitted"]), abs=1e-4)
        assert float(last["resisted"]) == pytest.approx(float(row["resisted"]), abs=1e-4)
    trials = list(csv.DictReader((project / "reports/tuning/glyphs/contrastive.csv").open()))
    assert [row["trial"] for row in trials] == ["0", "1"] and len({row["settings"] for row in trials}) == 2
    assert "| Contrastive |" in (project / "reports/tuning.md").read_text()
    manifest = list(csv.DictReader((project / "data/noise/glyphs-0.2-0.csv").open()))
    assert len(manifest) == 8000 and sum(row["corrupted"] == "True" for row in manifest) == 800


def test_no_run_was_lost_or_left_running_by_the_kill(project):
    finished = [run for run in mlflow_runs(project) if run[0] == "FINISHED"]
    assert len({run[1] for run in finished}) == len(finished) == 6
    assert all(run[3] for run in finished), "final measures are logged"
    assert not [run for run in mlflow_runs(project) if run[0] == "RUNNING"]


def test_a_second_run_does_nothing(project):
    before = (project / "dvc.lock").read_bytes()
    (project / "reports/index.html").unlink()
    assert "up to date" in sh(project, *REPRO)
    assert (project / "reports/index.html").exists(), "made again, though DVC does not know of it"
    assert not ran(sh(project, "dvc", "repro"))
    assert (project / "dvc.lock").read_bytes() == before and not sh(project, "git", "status", "--porcelain")


@pytest.fixture(scope="module")
def missing(project, tmp_path_factory):
    """A clone of `half`, with nothing cached, in which only what has no result is trained: (folder, names of the runs
    with a result before, what was printed).
    """
    folder = tmp_path_factory.mktemp("second") / "clone"
    sh(project, "git", "clone", "-q", ".", str(folder))
    sh(folder, "git", "checkout", "-q", "half")
    before = {path.stem for path in (folder / "reports/runs").rglob("*.json")}
    return folder, before, sh(folder, *REPRO, "--missing")


@pytest.fixture(scope="module")
def second(missing):
    """The same clone, after what had a result is trained too."""
    folder, _, _ = missing
    sh(folder, *REPRO)
    return folder


@pytest.mark.long
def test_a_study_that_was_killed_is_finished_in_another_clone(project, missing):
    folder, before, out = missing
    assert 0 < len(before) < RUNS, before
    assert f"{len(before)} run{'s' * (len(before) > 1)} with a result" in out and "stay as they are: glyphs" in out
    trained = set(re.findall(r"^(\S+)\s+epoch   1/2", out, re.MULTILINE))
    assert len(trained) == RUNS - len(before) and not trained & before
    assert results(folder) == results(project)
    assert (folder / "reports/tables.md").read_text() == (project / "reports/tables.md").read_text()
    assert "nothing to run" in sh(folder, *REPRO, "--missing")


@pytest.mark.long
def test_where_every_run_has_its_result_none_is_trained(project, tmp_path):
    folder = tmp_path / "clone"
    sh(project, "git", "clone", "-q", ".", str(folder))
    out = sh(folder, *REPRO, "--missing")
    assert f"{RUNS} runs with a result not trained again" in out and "epoch   1/2" not in out
    assert not list(folder.glob("models/**/run.json")) and sh(folder, "git", "status", "--porcelain") == ""


@pytest.mark.long
def test_a_second_clone_changes_the_provenance_alone(project, second):
    commit(second, "results")
    differ = set(sh(second, "git", "diff", "--name-only", "origin/HEAD").split())
    assert differ - {"dvc.lock"} == {"reports/provenance/tiny.csv"}
    locks = [yaml.safe_load((folder / "dvc.lock").read_text()) for folder in (project, second)]
    assert locks[0] == locks[1], "the stages stand in the order in which they ran"


@pytest.mark.long
def test_every_run_is_reproduced_and_a_changed_number_is_found(second):
    assert f"{RUNS} of {RUNS} runs reproduced to the bit" in sh(second, *VERIFY)
    path = second / "reports/runs/tiny/glyphs-pfml-0.2-0.json"
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"recall@1": 0.9}))
    try:
        out = sh(second, *VERIFY, code=1)
    finally:
        path.write_text(text)
    assert f"{RUNS - 1} of {RUNS} runs" in out and "differs  glyphs-pfml-0.2-0" in out


@pytest.mark.long
def test_runs_trained_anew_in_a_temporary_clone_are_equal(project):
    status = sh(project, "git", "status", "--porcelain")
    out = sh(project, *VERIFY, "--runs", "2")
    assert "2 of 2 runs reproduced to the bit" in out
    assert sh(project, "git", "status", "--porcelain") == status


@pytest.mark.long
def test_what_dvc_restored_from_its_cache_is_not_verified(project, tmp_path):
    folder = tmp_path / "clone"
    sh(project, "git", "clone", "-q", ".", str(folder))
    sh(folder, sys.executable, "-m", "dvc", "config", "--local", "cache.dir", str(project / ".dvc/cache"))
    sh(folder, *REPRO)
    out = sh(folder, *VERIFY, code=1)
    assert f"0 of {RUNS} runs" in out and f"{RUNS} not verified, since this clone has not trained them" in out


@pytest.mark.long
def test_a_run_is_made_again_at_its_commit_and_compared(project):
    [first, *_] = mlflow_runs(project)
    told = sh(project, *PFML, "where", first[1])
    commit = re.search(r"^commit +(\w{40})$", told, re.MULTILINE)[1]
    assert commit in sh(project, "git", "rev-list", "HEAD").split()
    assert "numbers and names equal" in sh(project, *PFML, "rerun", first[1])
    path = project / re.search(r"^result +(\S+)", told, re.MULTILINE)[1]
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"map@r": 0.9}))
    try:
        out = sh(project, *PFML, "rerun", first[1], code=1)
    finally:
        path.write_text(text)
    assert "differs  map@r: on record 0.9" in out and out.count("differs") == 1


@pytest.mark.long
def test_one_parameter_reruns_what_reads_it_and_going_back_trains_nothing(project):
    reported, runs = results(project), mlflow_runs(project)
    tables = (project / "reports/tables.md").read_text()
    out = sh(project, "dvc", "exp", "run", "-S", "loss.alpha=4")
    assert {"plan", "train", "evaluate", "ablate", "report"} <= ran(out)
    assert "Running stage 'ablate@delta_gap-0.1-0'" in out and "Running stage 'ablate@alpha" not in out
    assert not {"fetch", "split", "noise", "train_baseline", "evaluate_baseline"} & ran(out)
    assert (project / "reports/tables.md").read_text() != tables
    changed = {r["digest"] for r in results(project)} - {r["digest"] for r in reported}
    assert len(changed) == 3, "pfml clean, pfml noisy and the delta_gap point"
    shown = sh(project, "dvc", "exp", "show", "--csv", "--no-pager")
    assert any(row.get("loss.alpha") == "4" for row in csv.DictReader(shown.splitlines()))
    new = mlflow_runs(project, "pfml-tiny-experiments")
    assert {run[1] for run in new} == changed and len(mlflow_runs(project)) == len(runs), "not among the study's"
    assert len(new) == 3 and {(run[0], run[2], run[3]) for run in new} == {("FINISHED", "4.0", True)}

    count = len(mlflow_runs(project))
    assert "experiment" in sh(project, sys.executable, "-m", "pfml", "default")
    assert set(sh(project, "git", "diff", "--name-only", "HEAD").split()).isdisjoint({"params.yaml", "dvc.lock"})
    out = sh(project, *REPRO)
    assert not {name for name in ran(out) if name.startswith(("train", "ablate"))}
    assert (project / "reports/tables.md").read_text() == tables and results(project) == reported
    assert not sh(project, "git", "status", "--porcelain")
    assert len(mlflow_runs(project)) == count >= len(runs)


def test_a_fresh_clone_renders_the_tables_without_data(project, tmp_path):
    sh(tmp_path, "git", "clone", "-q", str(project), "fresh")
    fresh = tmp_path / "fresh"
    expected = (fresh / "reports/tables.md").read_bytes()
    (fresh / "reports/tables.md").unlink()
    sh(fresh, "dvc", "repro", "--quiet", "--force", "--single-item", "report", "figures", "page")
    assert (fresh / "reports/tables.md").read_bytes() == expected and (fresh / "reports/index.html").exists()
    assert not (fresh / "data").exists() and not (fresh / "mlflow.db").exists()
    assert not sh(fresh, "git", "status", "--porcelain")
    assert "up to date" in sh(fresh, "dvc", "repro", "--allow-missing")


@pytest.mark.long
def test_epochs_are_timed_on_purpose_and_become_table_9(project):
    sh(project, sys.executable, "benchmarks/run.py", "timing")
    timed = list(csv.DictReader((project / "reports/complexity/tiny.csv").open()))
    assert [row["method"] for row in timed] == ["proxy_nca", "pfml"]
    sh(project, "dvc", "repro", "--quiet", "--single-item", "report", "page")
    assert "PFML M=2" in (project / "reports/index.html").read_text()
    sh(project, "git", "clean", "-fdq", "reports")
    sh(project, "git", "checkout", "-q", ".")
    assert not {name for name in ran(sh(project, *REPRO)) if name not in ("report", "page")}


@pytest.mark.long
def test_a_new_loss_is_trained_and_makes_no_other_training_stale(project):
    """Added by the recipe of CONTRIBUTING.md: its file, a line in the registry, its section in params.yaml."""
    add_toy_loss(project)
    out = sh(project, "dvc", "repro")
    trained = {name for name in re.findall(r"Running stage '([^']+)'", out) if name.startswith(("train", "ablate"))}
    assert trained == {f"train_baseline@glyphs-toy-{noise}-0" for noise in (0.0, 0.2)}
    assert "| Toy |" in (project / "reports/tables.md").read_text()
    sh(project, "git", "clean", "-fdq", "src", "reports")
    sh(project, "git", "checkout", "-q", ".")
    assert not {name for name in ran(sh(project, *REPRO)) if name.startswith(("train", "ablate"))}
    assert not sh(project, "git", "status", "--porcelain")


def test_a_bad_value_stops_before_anything_is_overwritten(project):
    models = sorted(project.glob("models/**/run.json"))
    plan = {path: path.read_bytes() for path in project.glob("data/plan/**/*.json")}
    out = sh(project, "dvc", "exp", "run", "-S", "loss.alpha=-1", code=255)
    assert "loss.alpha: Input should be greater than or equal to 0, found -1" in out
    out = sh(project, *REPRO, code=2)
    assert "loss.alpha: Input should be greater than or equal to 0, found -1" in out
    assert sh(project, "git", "status", "--porcelain").split() == ["M", "params.yaml"]
    assert sorted(project.glob("models/**/run.json")) == models
    assert {path: path.read_bytes() for path in project.glob("data/plan/**/*.json")} == plan, "the last good plan stays"
    sh(project, "git", "checkout", "-q", ".")
    assert not ran(sh(project, *REPRO))


@pytest.mark.long
def test_ctrl_c_ends_every_process_and_keeps_what_is_finished(project):
    params = project / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("epochs: 2", "epochs: 300"))
    process = repro_until(project, "epoch   2/300")
    os.killpg(process.pid, signal.SIGINT)
    out = process.communicate(timeout=60)[0]  # ends when the last process that holds the pipe has ended
    assert process.returncode == 130 and "interrupted" in out
    states = list((project / ".checkpoints").glob("*/state.pt"))
    assert states, "the interrupted runs can go on"
    time.sleep(1)
    assert all(status != "RUNNING" for status, *_ in mlflow_runs(project))
    params.write_text(text)
    sh(project, "git", "checkout", "-q", ".")
    assert ran(sh(project, *REPRO)) == {"plan"}, "the plan is written again, in seconds; all else is as it was"
