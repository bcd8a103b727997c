"""Real MLflow on a real SQLite store in a temporary folder."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pfml.settings.load import load_params
from pfml.settings.runs import find_run, fold_runs, grid_runs
from pfml.tracking.mlflow import flatten, metric_name
from pfml.tracking.pages import read_lock
from pfml.tracking.register import close_dead_runs, close_interrupted, register
from pfml.tracking.tags import lock_digest, paper_table
from tests.conftest import ROOT
from tests.tracking.stores import HISTORY, RESULT, SETTINGS, runs_of, tracked_run


def test_a_run_carries_params_tags_epochs_and_its_config(store, run):
    with tracked_run(run, SETTINGS, "d" * 32, store / "memory") as tracker:
        tracker.log_history(HISTORY[:1])
        tracker.log_history(HISTORY)  # the first epoch is not logged twice
    client, [logged] = runs_of()
    assert logged.info.status == "FINISHED" and logged.info.run_name == run.name
    assert (logged.data.params["method"], logged.data.params["noise"]) == ("pfml", "0.2"), "charts compare by them"
    assert logged.data.params["loss.alpha"] == "3.0" and logged.data.params["train.epochs"] == "2"
    expected = {
        "config_digest": run.digest, "dataset_digest": "d" * 32, "study": "tiny", "method": "pfml", "noise": "0.2",
        "seed": "0", "dvc_stage": "train@glyphs-pfml-0.2-0", "dvc_exp": "workspace", "paper_table": "Table 2",
    }  # fmt: skip
    assert {key: logged.data.tags[key] for key in expected} == expected and "git_commit" in logged.data.tags
    [used] = logged.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("glyphs", "d" * 32)
    points = client.get_metric_history(logged.info.run_id, "recall_at_1")
    assert [(p.step, p.value) for p in points] == [(1, 0.2), (2, 0.4)]
    assert [a.path for a in client.list_artifacts(logged.info.run_id)] == ["config.json"]
    assert (store / "mlruns/pfml-tiny" / logged.info.run_id / "artifacts/config.json").exists()


def test_a_run_of_uncommitted_code_keeps_what_differs(store, run):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True)

    def logged_artifacts(name: str):
        with tracked_run(run, SETTINGS, "d", store / name) as tracker:
            pass
        client = runs_of()[0]
        return client, tracker.run_id, {one.path for one in client.list_artifacts(tracker.run_id)}

    (store / "src").mkdir()
    (store / "src/loss.py").write_text("alpha = 3\n")
    (store / "requirements.lock").write_text("torch==2.15.0\n")
    git("init", "-q", ".")
    git("add", "src")
    git("commit", "-qm", "code")
    lock_digest.cache_clear()
    client, run_id, there = logged_artifacts("clean")
    assert there == {"config.json"}
    lock = hashlib.sha256(b"torch==2.15.0\n").hexdigest()[:16]
    assert client.get_run(run_id).data.tags["requirements_lock"] == lock
    git("add", "requirements.lock")
    git("commit", "-qm", "lock")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    (store / "requirements.lock").unlink()
    lock_digest.cache_clear()
    assert lock_digest() == "" and lock_digest(commit) == lock and lock_digest("0" * 40) == ""
    (store / "src/loss.py").write_text("alpha = 4\n")
    (store / "src/new.py").touch()
    client, run_id, there = logged_artifacts("dirty")
    assert there == {"config.json", "uncommitted.diff"} and client.get_run(run_id).data.tags["git_commit"].endswith(
        "-dirty"
    )
    diff = Path(client.download_artifacts(run_id, "uncommitted.diff", str(store))).read_text()
    assert "+alpha = 4" in diff and "# not in Git: src/new.py" in diff


def test_the_page_of_a_run_has_its_stages_with_the_digests_of_their_data(store, run):
    entry = {"cmd": "python stages/train.py", "deps": [{"path": "data/noise", "md5": "1" * 32}]}
    stages = {"train@glyphs-pfml-0.2-0": entry, "train@glyphs-pfml-0.0-0": entry | {"cmd": "x"}}
    (store / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    register([(run, RESULT, HISTORY)], "pfml", "tiny", ["pfml"])
    client, [logged] = runs_of()
    path = client.download_artifacts(logged.info.run_id, "dvc_stages.json", str(store))
    assert json.loads(Path(path).read_text()) == {"train@glyphs-pfml-0.2-0": entry}
    (store / "dvc.lock").write_text("stages: [")  # cut off: a page without it
    assert read_lock() == {} and register([(run, RESULT, HISTORY)], "pfml", "tiny", ["pfml"])["complete"] == 1


def test_an_interrupted_run_is_not_left_running_and_is_continued(store, run):
    memory = store / "memory"
    with pytest.raises(SystemExit), tracked_run(run, SETTINGS, "d", memory) as tracker:
        tracker.log_history(HISTORY[:1])
        sys.exit(130)
    client, [logged] = runs_of()
    assert logged.info.status == "KILLED"
    with tracked_run(run, SETTINGS, "d", memory) as tracker:
        assert tracker.run_id == logged.info.run_id
        tracker.log_history(HISTORY)
    client, [logged] = runs_of()
    assert logged.info.status == "FINISHED"
    assert [p.step for p in client.get_metric_history(logged.info.run_id, "loss")] == [1, 2]


def test_an_error_ends_the_run_as_failed(store, run):
    with pytest.raises(FloatingPointError), tracked_run(run, SETTINGS, "d", store / "memory"):
        raise FloatingPointError("diverged")
    assert runs_of()[1][0].info.status == "FAILED"


def test_a_remembered_run_of_another_store_is_replaced(store, run):
    (store / "memory").write_text("0123456789abcdef0123456789abcdef")
    with tracked_run(run, SETTINGS, "d", store / "memory") as tracker:
        assert tracker.run_id, "a local store is awaited"
    assert (store / "memory").read_text() == tracker.run_id == runs_of()[1][0].info.run_id


def test_the_tracking_uri_is_respected(store, run, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store / 'elsewhere.db'}")
    with tracked_run(run, SETTINGS, "d", store / "memory"):
        pass
    assert (store / "elsewhere.db").exists() and not (store / "mlflow.db").exists()


CHILD = """
import sys
from pathlib import Path
from pfml.settings.runs import grid_runs
from pfml.settings.load import load_params
from pfml.tracking import background
from pfml.tracking.mlflow import tracked_run
background.PATIENCE = 60.0
SETTINGS = {"enabled": True, "experiment": "pfml"}
run = grid_runs(load_params())[int(sys.argv[1])]
with tracked_run(run, SETTINGS, "d", Path(f"memory{sys.argv[1]}")) as tracker:
    tracker.log_history([{"epoch": 1, "loss": 1.0}])
    if sys.argv[2:]:
        import time
        print("ready" if tracker.run_id else "no run", flush=True)
        time.sleep(60)
"""


def child(folder, number, *more):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "DVC_ROOT": str(folder)}
    command = [sys.executable, "-c", CHILD, str(number), *more]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.long
def test_processes_that_start_together_on_a_new_machine_share_one_store(store, run):
    processes = [child(store, number) for number in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    _, all_logged = runs_of()
    assert len({logged.data.tags["config_digest"] for logged in all_logged}) == 4
    assert {logged.info.status for logged in all_logged} == {"FINISHED"}


def test_a_killed_process_leaves_a_run_that_is_closed_later(store, run):
    process = child(store, 0, "wait")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    client, all_logged = runs_of()
    assert all_logged[0].info.status == "RUNNING", "SIGKILL cannot be answered"
    assert close_interrupted("pfml", "tiny") == 1 and close_dead_runs(client, runs_of()[1]) == 0
    assert runs_of()[1][0].info.status == "KILLED"


def test_register_completes_restores_and_then_rests(store, run, tiny, write):
    other = find_run(grid_runs(load_params(write(tiny))), "glyphs-cpml-0.0-0")
    with tracked_run(run, SETTINGS, "d", store / "memory") as tracker:
        tracker.log_history(HISTORY)
    result = {"recall@1": 0.4, "map@r": 0.1, "w2": 0.3, "nmi": None, "dataset_digest": "d", "git_commit": "abc"}
    own, foreign = result | {"mlflow_run": tracker.run_id}, result | {"mlflow_run": "f" * 32}
    results = [(run, own, HISTORY), (other, foreign, HISTORY)]
    assert register(results, "pfml", "tiny") == {"complete": 0, "finished": 1, "restored": 1, "closed": 0}
    client, all_logged = runs_of()
    by_digest = {logged.data.tags["config_digest"]: logged for logged in all_logged}
    assert len(all_logged) == 2 and {logged.info.status for logged in all_logged} == {"FINISHED"}
    for logged in all_logged:
        assert logged.data.metrics["final/recall_at_1"] == 0.4 and logged.data.metrics["final/w2"] == 0.3
        assert [p.step for p in client.get_metric_history(logged.info.run_id, "loss")] == [1, 2]
        assert {a.path for a in client.list_artifacts(logged.info.run_id)} == {"config.json", "history.png"}
    assert by_digest[other.digest].data.tags["restored_from"] == "f" * 32
    assert "restored_from" not in by_digest[run.digest].data.tags
    assert register(results, "pfml", "tiny")["complete"] == 2 and len(runs_of()[1]) == 2


def test_register_restores_the_runs_of_folds(store, tiny, write):
    tiny["mlrc"]["field"], tiny["train"]["hold_out"] = ["pfml"], True
    folds = fold_runs(load_params(write(tiny)))
    history = [{"epoch": 1, "loss": 3.0, "val_recall@1": 0.2, "val_map@r": 0.1}]
    own = {"map@r": 0.1, "val_map@r": 0.2, "concatenated_map@r": 0.3, "dataset_digest": "d", "git_commit": "abc"}
    results = [(run, own | {"mlflow_run": f"{run.fold}" * 32}, history) for run in folds]
    assert register(results, "pfml", "tiny")["restored"] == 4 and register(results, "pfml", "tiny")["complete"] == 4
    _, all_logged = runs_of()
    assert {logged.data.tags["fold"] for logged in all_logged} == set("0123") and all_logged[0].data.tags[
        "paper_table"
    ] == "Table 7"
    for logged in all_logged:
        final = {key: value for key, value in logged.data.metrics.items() if key.startswith("final/")}
        assert final == {"final/map_at_r": 0.1, "final/concatenated_map_at_r": 0.3}
        assert logged.data.metrics["val_map_at_r"] == 0.1 and logged.data.params["fold"] == logged.data.tags["fold"]


def test_register_gives_two_trainings_of_one_configuration_a_run_each(store, run):
    """The code changed and changed back: each result stays with the run that trained it."""
    numbers = {"map@r": 0.1, "dataset_digest": "d", "git_commit": "abc"}
    found = []
    for value in (0.4, 0.5):
        with tracked_run(run, SETTINGS, "d", store / f"memory{value}") as tracker:
            tracker.log_history(HISTORY)
        found.append((tracker.run_id, value))
    for run_id, value in found:
        register([(run, numbers | {"recall@1": value, "mlflow_run": run_id}, HISTORY)], "pfml", "tiny")
    client, _ = runs_of()
    for run_id, value in found:
        assert client.get_run(run_id).data.metrics["final/recall_at_1"] == value


def test_names():
    assert metric_name("recall@1") == "recall_at_1"
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": True}) == {"a.b": "1", "a.c.d": "None", "e": "True"}


def test_paper_tables(run, tiny, write):
    from pfml.settings.runs import ablation_runs

    params = load_params(write(tiny))
    assert paper_table(run) == "Table 2"
    assert {paper_table(c) for c in ablation_runs(params)} == {"Figure 3c", "Figure 3d"}
