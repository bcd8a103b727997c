"""A local store that cannot be used is named with what to do, and a project may lie anywhere."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from pfml.tracking.mlflow import open_store
from pfml.tracking.register import register
from pfml.tracking.store import ANEW, StoreError
from tests.conftest import ROOT
from tests.tracking.stores import HISTORY, LATER, RESULT, SETTINGS, assert_complete, runs_of, tracked_run


def test_the_lock_of_a_local_store_is_awaited_with_a_limit(store):
    (store / ".locks").mkdir()
    with (
        FileLock(store / ".locks/mlflow.init"),
        pytest.raises(StoreError, match=r"mlflow\.init: another process has held it"),
    ):
        open_store("pfml-tiny", patience=0.1)


def test_a_file_that_is_no_database_is_named_at_once(store, monkeypatch):
    (store / "mlflow.db").write_text("no database" * 100)
    with pytest.raises(StoreError, match=r"mlflow\.db: expected a SQLite file .* not a database"):
        open_store("pfml-tiny")


def another_process(store, code):
    """What a process prints that runs `code` behind the imports of a store."""
    code = f"from pfml.tracking.store import open_store, tolerate_mlflow_errors\n{code}"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=store, env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_a_database_that_was_damaged_later_is_named_with_the_way_on(store):
    """By another process, as this one has read the file already."""
    open_store("pfml-tiny")
    path = store / "mlflow.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))  # its first page alone is left
    said = another_process(store, "with tolerate_mlflow_errors('register'): open_store('pfml-other')")
    assert f"{path}" in said and "move it away" in said and ANEW in said
    path.rename(store / "damaged.db")
    another_process(store, "open_store('pfml-other')")
    assert path.exists()


def test_a_kill_while_the_database_is_made_leaves_none_and_the_next_process_makes_it(store, run):
    """Killed after ten tables. Where these were of mlflow.db itself, no process could open it again."""
    code = (
        "import os, signal, sqlalchemy, pfml.tracking.store as s\n"
        "made = []\n"
        "@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, 'before_cursor_execute')\n"
        "def watch(connection, cursor, statement, *rest):\n"
        "    made.append(statement) if 'CREATE TABLE' in statement else None\n"
        "    len(made) > 10 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "s.open_store('pfml-tiny')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    assert subprocess.run([sys.executable, "-c", code], cwd=store, env=environment).returncode == -signal.SIGKILL
    assert (store / "mlflow.db.part").stat().st_size
    with tracked_run(run, SETTINGS, "d", store / "memory") as tracker:
        tracker.log_history(HISTORY)
    _, [logged] = runs_of()
    assert logged.info.status == "FINISHED" and not (store / "mlflow.db.part").exists()


def test_an_environment_whose_path_has_a_percent_sign_is_named(store, tmp_path):
    """Where MLflow's own words are `invalid interpolation syntax`."""
    import mlflow

    place = tmp_path / "50%20off"
    place.mkdir()
    (place / "mlflow").symlink_to(Path(mlflow.__file__).parent)
    code = "from pfml.tracking.store import open_store; open_store('pfml-tiny')"
    environment = os.environ | {"PYTHONPATH": f"{place}{os.pathsep}{ROOT / 'src'}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=store, env=environment, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert f"{place / 'mlflow'}: MLflow makes no database where its own path has a %" in last
    assert "move the project" in last


@pytest.mark.parametrize("name", ["a?b", "50%20off", "a#b", "über & 'so' +=1"])
def test_a_project_may_have_any_path(name, tmp_path, store, run, monkeypatch):
    project = tmp_path / "in" / name / "project"
    project.mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(project))
    with tracked_run(run, SETTINGS, "d", project / "memory") as tracker:
        tracker.log_history(HISTORY)
        assert tracker.run_id
    client, [logged] = runs_of()
    assert logged.info.status == "FINISHED" and [a.path for a in client.list_artifacts(tracker.run_id)]
    assert {path.name for path in project.iterdir()} == {".locks", "memory", "mlflow.db", "mlruns"}
    assert [path.name for path in (tmp_path / "in").iterdir()] == [name], "nothing is written outside"
    assert (project / "mlruns/pfml-tiny" / tracker.run_id / "artifacts/config.json").exists()


def test_the_advice_on_a_deleted_experiment_is_true(store, run, monkeypatch, capsys):
    client, experiment = open_store("pfml-tiny")
    client.delete_experiment(experiment)
    with tracked_run(run, SETTINGS, "d", store / "memory") as tracker:
        tracker.log_history(LATER)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "experiment pfml-tiny was deleted" in said and "tracking.experiment" in said
    command = re.search(r"`(.*?)`", said)[1]
    assert f"mlflow experiments restore --experiment-id {experiment}" in command
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    subprocess.run(["bash", "-c", command], check=True, env=os.environ | {"PATH": path}, cwd=store)
    assert register([(run, RESULT, LATER)], "pfml", "tiny")["restored"] == 1
    client, [logged] = runs_of()
    assert_complete(client, logged, run)
