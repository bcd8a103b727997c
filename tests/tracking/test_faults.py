"""A store that is dead, hangs or comes back: no training waits for it, and `register` adds whatever is missing."""

import os
import re
import subprocess
import sys
import threading

import pytest
from filelock import FileLock

from pfml.settings.load import load_params
from pfml.settings.planning import write_plan
from pfml.settings.runs import find_run, grid_runs
from pfml.tracking import background
from pfml.tracking.mlflow import Tracker, create_run, open_store, tolerate_mlflow_errors
from pfml.tracking.register import register
from pfml.tracking.tags import tags_of
from tests.conftest import ROOT
from tests.tracking.stores import (
    HISTORY,
    LATER,
    RESULT,
    SETTINGS,
    HangingServer,
    MlflowServer,
    assert_complete,
    free_port,
    runs_of,
    steps,
    tracked_run,
)


@pytest.fixture
def hanging(store, monkeypatch):
    with HangingServer() as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        yield server


@pytest.fixture
def server(store, tmp_path, monkeypatch):
    one = MlflowServer(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", one.uri)
    one.start()
    yield one
    one.kill()


def test_a_training_does_not_wait_for_a_hanging_server_and_says_so_once(hanging, store, run, capsys):
    with tracked_run(run, SETTINGS, "d", store / "memory") as tracker:
        for epoch in (1, 2, 3):
            tracker.log_history(LATER[:epoch])
        assert tracker.run_id == "" and capsys.readouterr().out == "", "the training is done, no answer was awaited"
    assert hanging.accepted.is_set()
    out = capsys.readouterr().out
    assert re.findall(r"^glyphs-pfml-0.2-0: not logged.*no answer within 5 s.*register makes up for it$", out, re.M)
    assert out.count("\n") == 1 and not (store / "memory").exists()


def test_the_wait_at_the_end_is_bounded_whatever_the_requests_take(hanging, store, run, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "300")
    monkeypatch.setattr(background, "PATIENCE", 0.5)
    with tracked_run(run, SETTINGS, "d", store / "memory"):
        assert hanging.accepted.wait(60)
    assert re.fullmatch(r".*not all was taken within 0\.5 s.*\n", capsys.readouterr().out)


@pytest.mark.long
def test_a_stage_waits_for_a_hanging_server_after_it_has_let_go_of_its_run(hanging, store, images, tiny, write):
    """`images` is the working folder; the request alone would take 300 s."""
    tiny["train"] |= {"batch": 20, "hold_out": False}
    write(tiny)
    write_plan(load_params(), images / "data/plan")
    run = find_run(grid_runs(load_params()), "glyphs-pfml-0.2-0")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "MLFLOW_HTTP_REQUEST_TIMEOUT": "300"}
    process = subprocess.Popen(
        [sys.executable, ROOT / "stages/train.py", run.name], cwd=images, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert hanging.accepted.wait(120), process.stdout.read()
        wait_until(lambda: (run.paths().model / "run.json").exists())
        with FileLock(images / ".checkpoints" / run.digest / "lock", timeout=5):
            assert process.poll() is None, "it waits for MLflow"
        out = process.communicate(timeout=120)[0]
    finally:
        process.kill()
    assert process.returncode == 0 and out.count("not logged") == 1, out
    assert out.index("epoch   2/2") < out.index("not all was taken within 10 s")


def test_no_lock_is_held_while_a_server_does_not_answer(hanging, store):
    def open_it():
        with tolerate_mlflow_errors("test"):
            open_store("pfml-tiny")

    thread = threading.Thread(target=open_it)
    thread.start()
    try:
        assert hanging.accepted.wait(60)
        (store / ".locks").mkdir(exist_ok=True)
        with FileLock(store / ".locks/mlflow.init", timeout=0):
            assert thread.is_alive()
    finally:
        thread.join()


def test_a_dead_server_costs_one_line_in_a_training_and_in_register(store, run, tiny, write, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with tracked_run(run, SETTINGS, "d", store / "memory") as tracker:
        tracker.log_history(HISTORY)
    assert tracker.run_id == "" and capsys.readouterr().out.count("MLflow's store failed") == 1
    write(tiny)
    (store / "presets").mkdir()
    done = subprocess.run(
        [sys.executable, ROOT / "stages/register.py"], cwd=store, env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"register: not logged, MLflow's store failed .*refused.*\n", done.stdout)


def test_a_gap_between_epochs_is_filled(store, run):
    """Also in a run whose final measures are there already."""
    with tracked_run(run, SETTINGS, "d", store / "memory") as tracker:
        pass
    client, _ = runs_of()
    Tracker(client, tracker.run_id).log_history([LATER[0], LATER[2]])
    Tracker(client, tracker.run_id).log_final({"recall@1": 0.4, "w2": 0.3})
    results = [(run, RESULT | {"mlflow_run": tracker.run_id}, LATER)]
    assert register(results, "pfml", "tiny")["finished"] == 1
    assert steps(client, tracker.run_id, "recall_at_1") == [1, 2, 3]
    assert register(results, "pfml", "tiny")["complete"] == 1


@pytest.mark.long
def test_a_training_goes_on_logging_when_the_server_is_back(server, store, run, monkeypatch, capsys):
    monkeypatch.setattr(background, "PAUSE", 0.0)
    monkeypatch.setattr(background, "PATIENCE", 60.0)
    with tracked_run(run, SETTINGS, "d", store / "memory") as tracker:
        tracker.log_history(LATER[:1])
        wait_until(lambda: tracker.run_id and steps(*client_of(tracker), "loss") == [1])
        server.kill()
        tracker.log_history(LATER[:2])
        wait_until(lambda: "MLflow's store failed" in capsys.readouterr().out)
        server.start()
        tracker.log_history(LATER)
    client, [logged] = runs_of()
    assert logged.info.status == "FINISHED" and steps(client, logged.info.run_id, "loss") == [1, 2, 3]


@pytest.mark.long
def test_register_completes_a_run_whose_server_died_during_the_training(server, store, run):
    with tracked_run(run, SETTINGS, "d", store / "memory") as tracker:
        tracker.log_history(LATER[:1])
        wait_until(lambda: tracker.run_id and steps(*client_of(tracker), "loss") == [1])
        server.kill()
        tracker.log_history(LATER[:2])
        tracker.log_history(LATER)
    server.start()
    client, [logged] = runs_of()
    assert logged.info.status == "RUNNING" and steps(client, logged.info.run_id, "loss") == [1]
    result = RESULT | {"mlflow_run": tracker.run_id}
    assert register([(run, result, LATER)], "pfml", "tiny")["finished"] == 1
    client, [logged] = runs_of()
    assert logged.info.status == "FINISHED" and steps(client, logged.info.run_id, "loss") == [1, 2, 3]
    assert {a.path for a in client.list_artifacts(logged.info.run_id)} == {"config.json", "history.png"}


def test_a_run_that_was_created_without_an_answer_is_completed(store, run):
    """The store made it, with its tags, and the training never heard of it."""
    client, experiment = open_store("pfml-tiny")
    run_id = create_run(client, experiment, run, tags_of(run, "d", {}) | {"git_commit": "abc"})
    client.set_tag(run_id, "pid", str(ended_process()))
    counts = register([(run, RESULT, LATER)], "pfml", "tiny")
    assert counts == {"complete": 0, "finished": 1, "restored": 0, "closed": 1}
    client, [logged] = runs_of()
    assert logged.info.run_id == run_id and "restored_from" not in logged.data.tags
    assert_complete(client, logged, run)
    assert register([(run, RESULT, LATER)], "pfml", "tiny")["complete"] == 1


def test_a_result_without_a_run_does_not_take_one_with_other_epochs(store, run):
    with tracked_run(run, SETTINGS, "d", store / "memory") as tracker:
        tracker.log_history([HISTORY[0] | {"loss": 3.1}])
    for key in ("restored", "complete"):
        assert register([(run, RESULT, LATER)], "pfml", "tiny")[key] == 1
    client, logged = runs_of()
    assert len(logged) == 2 and steps(client, tracker.run_id, "loss") == [1]


def test_a_run_without_tags_is_completed_or_closed(store, run):
    """As earlier versions left it where the store failed after the first request."""
    client, experiment = open_store("pfml-tiny")
    named, lost = (client.create_run(experiment, run_name=run.name).info.run_id for _ in range(2))
    register([(run, RESULT | {"mlflow_run": named}, LATER)], "pfml", "tiny")
    client, logged = runs_of()
    found = {one.info.run_id: one for one in logged}
    assert set(found) == {named, lost} and found[lost].info.status == "KILLED"
    assert_complete(client, found[named], run)


def test_a_run_is_created_with_its_tags(store, run):
    client, experiment = open_store("pfml-tiny")
    run_id = create_run(client, experiment, run, tags_of(run, "d", {}))
    tags = client.get_run(run_id).data.tags
    assert tags["config_digest"] == run.digest and tags["pid"] == str(os.getpid()) and tags["host"]


def test_epochs_of_a_run_that_never_sees_the_test_half_keep_their_names(store, tiny, write):
    tiny["train"]["hold_out"] = True
    run = grid_runs(load_params(write(tiny)))[0]
    with tracked_run(run, SETTINGS, "d", store / "memory") as tracker:
        tracker.log_history([{"epoch": 1, "loss": 3.0, "val_recall@1": 0.2}])
    on_disk = [{"epoch": 1, "loss": 3.0, "recall@1": 0.2}, {"epoch": 2, "loss": 2.0, "recall@1": 0.4}]
    register([(run, RESULT | {"mlflow_run": tracker.run_id}, on_disk)], "pfml", "tiny")
    client, [logged] = runs_of()
    assert steps(client, tracker.run_id, "val_recall_at_1") == [1, 2] and "recall_at_1" not in logged.data.metrics


def client_of(tracker):
    return open_store("pfml-tiny")[0], tracker.run_id


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def wait_until(true):
    for _ in range(600):
        if true():
            return
        threading.Event().wait(0.1)
    raise AssertionError("it did not happen within 60 s")
