"""`pfml ui`: its link opens MLflow's page of the rows, in a real server and a real browser."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pfml.settings.load import load_params
from pfml.tracking.register import register
from pfml.tracking.ui import COLUMNS, OPEN, runs_link
from tests import committed
from tests.conftest import ROOT
from tests.tracking.stores import HISTORY, MlflowServer, free_port

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def results_of(run) -> list:
    result = {"recall@1": 0.4, "map@r": 0.1, "w2": 0.3, "dataset_digest": "d", "git_commit": "abc"}
    seeds = [replace(run, seed=seed) for seed in (0, 1)]
    return [(one, result | {"mlflow_run": f"{one.seed}" * 32}, HISTORY) for one in seeds]


@contextmanager
def pages(store: Path):
    """`pfml ui` in a folder: (address, link that it printed), once the server answers."""
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "DVC_ROOT": str(store), "PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "pfml", "ui"], cwd=store, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        link = re.search(r"http://127\.0\.0\.1:\S+", process.stdout.readline())[0]
        address = f"http://127.0.0.1:{port}"
        for _ in range(240):
            assert process.poll() is None, "the server ended"
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health"):
                break
            time.sleep(0.5)
        yield address, link
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def tags_of_experiment(address: str, number: str) -> dict:
    with urllib.request.urlopen(f"{address}/api/2.0/mlflow/experiments/get?experiment_id={number}") as answer:
        return {tag["key"]: tag["value"] for tag in json.load(answer)["experiment"]["tags"]}


def test_the_link_names_the_experiment_and_a_view_of_its_rows(tmp_path, store, run, monkeypatch):
    store = tmp_path / "50%20 #1?"
    store.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(store))
    (tmp_path / "params.yaml").rename(store / "params.yaml")
    runs_link("", "pfml-tiny", "pfml")  # no run yet
    register(results_of(run), "pfml", "tiny")
    with pages(store) as (address, link):
        number, key = re.fullmatch(
            rf"{address}/#/experiments/(\d+)/runs\?workflowType=machine_learning&viewStateShareKey=(\w+)", link
        ).groups()
        view = json.loads(tags_of_experiment(address, number)[f"mlflow.sharedViewState.{key}"])
        assert view["searchFilter"] == "tags.level = 'row'" and view["selectedColumns"] == COLUMNS
        with urllib.request.urlopen(address) as answer:
            assert b"<html" in answer.read()
        browser, opened = tmp_path / "browser", tmp_path / "opened"
        browser.write_text(f'#!/bin/sh\necho "$1" > "{opened}"\n')
        browser.chmod(0o755)
        environment = os.environ | {"BROWSER": str(browser)}
        subprocess.run([sys.executable, "-c", OPEN, address, link], env=environment, check=True)
        assert opened.read_text().strip() == link


def test_without_a_row_the_view_shows_every_run(store, run):
    from pfml.tracking.mlflow import open_store

    link = runs_link("http://127.0.0.1:1", "pfml-tiny", "pfml")
    client, number = open_store("pfml-tiny")
    assert f"/experiments/{number}/runs" in link
    view = json.loads(client.get_experiment(number).tags["mlflow.sharedViewState.pfml"])
    assert view == {"selectedColumns": COLUMNS}


def test_without_a_run_the_newest_other_study_is_shown(store, run):
    from pfml.tracking.mlflow import open_store

    register(results_of(run), "pfml", "tiny")
    client, number = open_store("pfml-tiny")
    client.create_run(open_store("pfml-tiny-tuning")[1], run_name="search of pfml")  # newer, and no training
    assert f"/experiments/{number}/runs" in runs_link("", "pfml-glyphs", "pfml")
    assert f"/experiments/{number}/runs" not in runs_link("", "my-lab-glyphs", "my-lab")


@pytest.mark.long
@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
def test_a_browser_shows_the_rows_of_the_default_study(tmp_path, monkeypatch):
    """Writes docs/mlflow.png to the file that PFML_SCREENSHOT names."""
    project = tmp_path / "project"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(project)], check=True)
    monkeypatch.chdir(project)
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment |= {"PYTHONPATH": "src", "DVC_ROOT": str(project)}
    subprocess.run([sys.executable, "stages/register.py"], env=environment, check=True)
    params = load_params()
    with committed.committed("reports/results.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["study"] == params.study and row["status"] == "current"]
    with pages(project) as (_, link):
        command = [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1800,760",
        ]
        command += ["--virtual-time-budget=30000", f"--user-data-dir={tmp_path / 'browser'}"]
        shown = subprocess.run([*command, "--dump-dom", link], capture_output=True, text=True, check=True).stdout
        text = re.sub("<[^>]*>", " ", shown)
        for noise in params.grid.noise:
            assert f"row: pfml, noise {noise}, {params.grid.dataset[0]}" in text
        assert f"{params.grid.dataset[0]}-pfml-0.2-0" not in text, "rows alone"
        for column in ("final/recall_at_1", "final/map_at_r", "final/w2", "method", "noise"):
            assert column in text, column
        best = max(float(row["recall@1"]) for row in rows)
        assert str(best)[:5] in text, "the best R@1 is first"
        assert "matching run" in text and "No traces" not in text
        if picture := os.environ.get("PFML_SCREENSHOT"):
            subprocess.run([*command, f"--screenshot={picture}", link], capture_output=True, check=True)
            with Image.open(picture) as whole:  # without the panel of MLflow's assistant at the right
                width, height = whole.size
                whole.crop((0, 0, int(0.742 * width), height)).quantize(64).save(picture, optimize=True)


def test_a_server_keeps_its_own_pages(tmp_path, store, run, monkeypatch):
    server = MlflowServer(tmp_path)
    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        register(results_of(run), "pfml", "tiny")
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(
            [sys.executable, "-m", "pfml", "ui"], cwd=store, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0 and f"{server.uri}/#/experiments/" in done.stdout, done.stderr
    finally:
        server.kill()
