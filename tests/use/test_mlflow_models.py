"""Trained networks in MLflow: the logged model of a run, the registry, and `mlflow models serve`."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import pfml
from pfml.settings.load import load_params
from pfml.settings.runs import find_run, grid_runs
from pfml.tracking.register import register
from pfml.tracking.store import open_store, store_uri
from pfml.use.neighbours import neighbours_picture
from tests.conftest import ROOT
from tests.tracking.stores import HISTORY, free_port
from tests.use.conftest import NETWORK, RUN

PICTURE = "photos/bird 2/3.png"


@pytest.fixture
def here(birds, tmp_path, monkeypatch):
    """A copy of the project of birds, with a store of its own."""
    folder = tmp_path / "project"
    shutil.copytree(birds, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def registered(kept: str):
    params = load_params()
    run = find_run(grid_runs(params), RUN)
    result = {"recall@1": 0.4, "map@r": 0.1, "dataset_digest": "d", "git_commit": "abc", "mlflow_run": "e" * 32}
    counts = register([(run, result, HISTORY)], "pfml", params.study, params.grid.field, kept, neighbours_picture)
    client, experiment = open_store(f"pfml-{params.study}")
    [logged] = client.search_runs([experiment], "tags.level = 'seed'")
    return client, logged, counts


def predicted(uri: str) -> np.ndarray:
    mlflow.set_tracking_uri(store_uri())
    return mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"image": [Path(PICTURE).read_bytes()]}))


@pytest.mark.parametrize("kept", ["reference", "upload"])
def test_a_run_has_its_network_as_a_logged_model(kept, here):
    client, logged, counts = registered(kept)
    assert counts["restored"] == 1
    [output] = logged.outputs.model_outputs
    shown = client.search_logged_models([logged.info.experiment_id])
    assert [one.model_id for one in shown] == [output.model_id], "in the experiment of the run"
    found = predicted(f"models:/{output.model_id}")
    assert np.array_equal(found, pfml.load(NETWORK, "cpu").embed(PICTURE))
    kept_weights = list((here / "mlruns").rglob("model.safetensors"))
    assert len(kept_weights) == (kept == "upload"), "weights are copied only on demand"
    _, again, counts = registered(kept)
    assert counts["complete"] == 1 and len(again.outputs.model_outputs) == 1


def test_a_network_in_a_passing_checkout_is_copied(here, monkeypatch):
    registered("none")
    checkout = here / ".dvc/tmp/exps/standalone/x"
    shutil.copytree(here, checkout, symlinks=True, ignore=shutil.ignore_patterns(".dvc", "mlruns", "mlflow.db"))
    monkeypatch.chdir(checkout)
    registered("auto")
    assert len(list((here / "mlruns").rglob("model.safetensors"))) == 1


def test_the_page_of_a_run_has_its_pictures(here):
    client, logged, _ = registered("none")
    assert not logged.outputs or not logged.outputs.model_outputs
    there = {artifact.path for artifact in client.list_artifacts(logged.info.run_id)}
    assert {"config.json", "history.png", "neighbours.png"} <= there
    _, logged, _ = registered("auto")
    assert len(logged.outputs.model_outputs) == 1, "the setting changed"


def test_a_network_that_is_referred_to_and_gone_is_named(here):
    _, logged, _ = registered("auto")
    uri = f"models:/{logged.outputs.model_outputs[0].model_id}"
    record = here / NETWORK / "run.json"
    record.write_text(record.read_text().replace(pfml.load(NETWORK).digest, "0" * 16))
    with pytest.raises(ValueError, match=r"expected the weights .* trained anew since"):
        predicted(uri)
    record.unlink()
    with pytest.raises(ValueError, match="network there, which is gone; `dvc checkout`"):
        predicted(uri)


def register_model(name: str, run: str = RUN, **more: str):
    command = [sys.executable, "-m", "pfml", "register-model", "--run", run, "--name", name]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT / "src")} | more, capture_output=True, text=True
    )


def test_a_registered_model_is_made_once_and_keeps_its_weights(here):
    done = register_model("birds")
    assert done.returncode == 2 and "no MLflow run" in done.stderr and "dvc repro -f -s register" in done.stderr
    registered("reference")
    done = register_model("birds")
    assert done.returncode == 0 and done.stdout == "models:/birds/1\n", done.stderr
    assert register_model("birds").stdout == "models:/birds/1 (has these weights already)\n"
    shutil.move(NETWORK, here / "elsewhere")  # the registry has a copy
    expected = pfml.load("elsewhere", "cpu").embed(PICTURE)
    assert np.array_equal(predicted("models:/birds/1"), expected)


@pytest.mark.long
def test_a_registered_model_is_served_and_answers_with_the_embeddings(here):
    registered("upload")
    assert register_model("birds").returncode == 0
    expected = pfml.load(NETWORK, "cpu").embed(PICTURE)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/birds/1", "--env-manager", "local"]
    environment = os.environ | {"MLFLOW_TRACKING_URI": store_uri(), "PYTHONPATH": str(ROOT / "src")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"], env=environment,
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for _ in range(240):
            assert server.poll() is None, server.stderr.read()[-2000:]
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                break
            time.sleep(0.5)
        image = base64.b64encode(Path(PICTURE).read_bytes()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", json.dumps({"dataframe_records": [{"image": image}]}).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request) as answer:
            [found] = json.load(answer)["predictions"]
        assert np.abs(np.array(found) - expected[0]).max() < 1e-6
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()


def test_what_cannot_be_registered_is_one_line(here):
    registered("none")
    for name, run, more, words in (
        ("a/b", RUN, {}, "--name 'a/b'"),
        ("birds", "birds-pfml-0.0-9", {}, f"near: {RUN}"),
        ("birds", RUN, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, "http://127.0.0.1:9"),
    ):
        done = register_model(name, run, **more)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
