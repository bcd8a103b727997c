"""Stores for the tests of tracking: a real MLflow on SQLite, as a server, and servers that are dead or never answer."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager

from pfml.tracking import mlflow
from pfml.tracking.background import wait_for_trackers
from pfml.tracking.register import all_runs

SETTINGS = {"enabled": True, "experiment": "pfml"}
HISTORY = [
    {"epoch": 1, "loss": 3.0, "lr": 0.1, "recall@1": 0.2, "seconds": 1.0},
    {"epoch": 2, "loss": 2.0, "lr": 0.1, "recall@1": 0.4, "seconds": 2.0},
]
RESULT = {"recall@1": 0.4, "w2": 0.3, "dataset_digest": "d", "git_commit": "abc"}
LATER = [*HISTORY, {"epoch": 3, "loss": 1.0, "lr": 0.1, "recall@1": 0.5, "seconds": 3.0}]


@contextmanager
def tracked_run(*arguments):
    """The context of a training in a process that ends with it, so that it waits for the store."""
    try:
        with mlflow.tracked_run(*arguments) as tracker:
            yield tracker
    finally:
        wait_for_trackers()


def runs_of(study="tiny"):
    client, experiment = mlflow.open_store(f"pfml-{study}")
    return client, all_runs(client, experiment)


def steps(client, run_id: str, name: str) -> list[int]:
    return sorted(point.step for point in client.get_metric_history(run_id, name))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class HangingServer:
    """Accepts connections and never answers. `accepted` is set from the first one on."""

    def __enter__(self):
        self.accepted, self.connections = threading.Event(), []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                self.connections.append(self.socket.accept())
                self.accepted.set()

    def __exit__(self, *_):
        self.socket.close()
        for connection, _ in self.connections:
            connection.close()


class MlflowServer:
    """A real MLflow server with its files in a folder, which can be killed and started again."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.uri, self.process = f"http://127.0.0.1:{self.port}", None

    def start(self):
        store = ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        store += ["--artifacts-destination", str(self.folder / "artifacts")]
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *store, *place], cwd=self.folder, env=environment,
            start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(240):
            assert self.process.poll() is None, "the server ended"
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health"):
                return
            time.sleep(0.5)
        raise AssertionError("the server does not answer")

    def kill(self):
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def assert_complete(client, logged, run, history=LATER):
    """Everything that `register` promises of a run."""
    run_id = logged.info.run_id
    assert logged.info.status == "FINISHED" and logged.data.params["loss.alpha"] == "3.0"
    for name in ("loss", "lr", "recall_at_1"):
        assert steps(client, run_id, name) == [row["epoch"] for row in history], name
    assert (logged.data.metrics["final/recall_at_1"], logged.data.metrics["final/w2"]) == (0.4, 0.3)
    assert logged.data.tags["config_digest"] == run.digest and logged.data.tags["git_commit"] == "abc"
    assert {a.path for a in client.list_artifacts(run_id)} == {"config.json", "history.png"}
    assert [used.dataset.digest for used in logged.inputs.dataset_inputs] == ["d"]
