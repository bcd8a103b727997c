"""Two clones work on one study at once, on the nodes of one Ray cluster, with a DVC remote on S3 and MLflow's server on
PostgreSQL with artifacts on S3: real servers on loopback.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.launch import nodes
from tests.launch.clusters import OURS, driver_with_remote, log_of, results, start_grid, trained_in
from tests.pipeline.clones import ENVIRONMENT, sh

moto = pytest.importorskip("moto", reason="the package moto is not installed (make engines)")
pgserver = pytest.importorskip("pgserver", reason="the package pgserver is not installed (make engines)")
pytest.importorskip("dvc_s3", reason="the package dvc-s3 is not installed (make engines)")
pytestmark = [pytest.mark.long, pytest.mark.pipeline]

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
HOUR = 3600


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def await_page(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 240  # a server that imports MLflow on a busy machine
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < deadline and server.poll() is None, f"{url}: {log.read_text()[-2000:]}"
            time.sleep(0.2)


class Storage:
    """An S3 server whose buckets are in its memory; `stop` and `go_on` make it hang and answer again."""

    def __init__(self, log: Path):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        with log.open("w") as out:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
            self.process = subprocess.Popen(command, stdout=out, stderr=out)
        await_page(self.url, self.process, log)
        import boto3

        self.client = boto3.client(
            "s3", endpoint_url=self.url, region_name=KEYS["AWS_DEFAULT_REGION"],
            aws_access_key_id="a", aws_secret_access_key="b",
        )  # fmt: skip
        self.client.create_bucket(Bucket="pfml")

    def stop(self) -> None:
        """Accept connections and answer none."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def slow(self):
        """Answer for half of the time, in pulses."""
        ended = threading.Event()

        def pulse():
            while not ended.wait(0.2):
                self.stop()
                ended.wait(0.2)
                self.go_on()

        thread = threading.Thread(target=pulse)
        thread.start()
        yield
        ended.set()
        thread.join()

    def names(self, folder: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="pfml", Prefix=folder)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]


@pytest.fixture
def s3(tmp_path):
    found = Storage(tmp_path / "s3.log")
    yield found
    found.process.kill()
    found.process.wait()


@pytest.fixture
def postgres():
    folder = Path(tempfile.mkdtemp())  # PostgreSQL does not run as root, and has to reach its files
    folder.chmod(0o755)
    server = pgserver.get_server(folder / "data")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def mlflow_server(postgres, s3, tmp_path):
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", postgres, "--artifacts-destination",
        "s3://pfml/mlflow", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    variables = ENVIRONMENT | KEYS | {"MLFLOW_S3_ENDPOINT_URL": s3.url, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "mlflow.log").open("w") as out:
        process = subprocess.Popen(command, env=variables, stdout=out, stderr=out, start_new_session=True)
    await_page(f"http://127.0.0.1:{port}/health", process, tmp_path / "mlflow.log")
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_two_clones_share_a_study_through_s3_and_a_server_on_postgresql(
    alone,
    cluster,
    s3,
    mlflow_server,
    tmp_path,
):
    found, _ = cluster
    tracked = {"tracking": {"enabled": True}}
    drivers = [driver_with_remote(tmp_path / name, "s3://pfml/store", **OURS | tracked) for name in ("one", "two")]
    for folder in drivers:
        sh(folder, "dvc", "remote", "modify", "--local", "store", "endpointurl", s3.url)
    for path in drivers[1].rglob("*"):  # the clock of its machine is an hour ahead
        if path.is_file() and ".git" not in path.parts:
            os.utime(path, (time.time() + HOUR, time.time() + HOUR))
    variables = KEYS | {"MLFLOW_TRACKING_URI": mlflow_server}
    at_work = [start_grid(folder, found.address, **variables) for folder in drivers]
    for process, folder in zip(at_work, drivers):
        assert process.wait(timeout=900) == 0, log_of(folder).read_text()[-3000:]
    same = [name for name in results(alone) if name.startswith("reports/runs")]
    assert same and all(results(folder)[name] == results(alone)[name] for folder in drivers for name in same)
    assert results(drivers[0]) == results(drivers[1])
    assert trained_in(drivers[0]).keys() == trained_in(alone).keys()
    assert s3.names("store/runs") and s3.names("store/files"), "DVC's run cache and its objects"
    assert s3.names("mlflow"), "MLflow's artifacts"
    digests = {json.loads(path.read_text())["digest"] for path in (drivers[0] / "reports/runs").rglob("*.json")}
    code = (
        "import json, mlflow; from pfml.tracking.register import all_runs\n"
        "client = mlflow.MlflowClient(); experiment = client.get_experiment_by_name('pfml-tiny').experiment_id\n"
        "found = [(r.info.status, r.data.tags['config_digest'], r.data.metrics.get('final/recall_at_1'))"
        " for r in all_runs(client, experiment)]; print('RUNS' + json.dumps(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=drivers[0], env=ENVIRONMENT | {"MLFLOW_TRACKING_URI": mlflow_server},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    kept = json.loads(done.stdout.split("RUNS")[1])
    assert {digest for status, digest, recall in kept if status == "FINISHED" and recall is not None} >= digests
    assert {status for status, _, _ in kept} == {"FINISHED"}


def test_a_store_that_never_answers_ends_a_run_and_a_slow_one_costs_time_alone(s3, tmp_path, monkeypatch):
    driver = driver_with_remote(tmp_path / "driver", "s3://pfml/store", **OURS | {"tune": {"method": []}})
    sh(driver, "dvc", "remote", "modify", "--local", "store", "endpointurl", s3.url)
    for timeout in ("connect_timeout", "read_timeout"):
        sh(driver, "dvc", "remote", "modify", "--local", "store", timeout, "2")
    monkeypatch.chdir(driver)
    for name, value in (ENVIRONMENT | KEYS).items():
        monkeypatch.setenv(name, value)
    (first, *_), order = nodes.planned(driver)

    node = nodes.Node(tmp_path / "a", **KEYS, AWS_MAX_ATTEMPTS="1")  # s3fs itself tries each call five times
    s3.stop()
    outcome = node.run(first, order)
    assert outcome.code and "Running stage" not in node.said and "time" in node.said.lower(), node.said
    s3.go_on()
    patient = nodes.Node(tmp_path / "a", **KEYS)  # the same machine, with the usual number of attempts
    with s3.slow():
        assert patient.run(first, order).code == 0 and "Running stage" in patient.said
    assert s3.names("store/runs")
