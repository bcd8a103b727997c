"""Log runs and searches to MLflow. The pipeline never reads its results back from MLflow.

Only this package imports mlflow. What a training logs is written by a thread (pfml.tracking.background); what is
missing afterwards the stage `register` adds (pfml.tracking.register).
"""

import json
import os
import socket
import time
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

from pfml.settings.run import Run
from pfml.tracking.background import BackgroundTracker
from pfml.tracking.provenance import machine
from pfml.tracking.store import is_local, open_store, prepare, store_uri, tolerate_mlflow_errors
from pfml.tracking.tags import experiment_name, lock_digest, tags_of, uncommitted

AT_ONCE = 500  # points in a request
GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")  # a run that is not there, or deleted


class Tracker:
    """Writes the history and the measures of one run to its MLflow run, what is there already excepted.

    Args:
        new: the MLflow run was made just now, so that nothing is there.
    """

    def __init__(self, client, run_id: str, new: bool = False):
        self.client, self.run_id, self.new = client, run_id, new
        self._logged: dict[str, set[int]] = {}

    def log_history(self, history: list[dict]) -> int:
        """Log each measure of each epoch that the MLflow run lacks; returns their number. Safe to call again."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [
            Metric(metric_name(name), float(value), now, int(row["epoch"]))
            for row in history
            for name, value in row.items()
            if name != "epoch" and value is not None and value == value
        ]
        missing = [point for point in points if point.step not in self._steps(point.key)]
        for start in range(0, len(missing), AT_ONCE):
            batch = missing[start : start + AT_ONCE]
            try:
                self.client.log_batch(self.run_id, metrics=batch)
            except Exception:  # it may be there all the same, if only the answer was lost: ask the next time
                self.new, self._logged = False, {}
                raise
            for point in batch:
                self._logged[point.key].add(point.step)
        return len(missing)

    def _steps(self, key: str) -> set[int]:
        if key not in self._logged:
            points = [] if self.new else self.client.get_metric_history(self.run_id, key)
            self._logged[key] = {point.step for point in points}
        return self._logged[key]

    def log_final(self, metrics: Mapping[str, float]) -> None:
        """Log a run's final measures under final/<name>."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric("final/" + metric_name(name), float(value), now, 0) for name, value in metrics.items()]
        self.client.log_batch(self.run_id, metrics=points)


def metric_name(name: str) -> str:
    """recall@1 -> recall_at_1, since MLflow refuses "@" in names."""
    return name.replace("@", "_at_")


def flatten(settings: dict, prefix: str = "") -> dict[str, str]:
    """{"loss": {"alpha": 3}} -> {"loss.alpha": "3"}."""
    flat = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": str(value)}
    return flat


def create_run(client, experiment_id: str, run: Run, tags: Mapping[str, str]) -> str:
    """Make an MLflow run named after the run. Its tags come with it, so that it is never without an owner."""
    return client.create_run(experiment_id, run_name=run.name, tags=tags | owner()).info.run_id


def owner() -> dict[str, str]:
    """Tags by which pfml.tracking.register finds out that the process of a run is gone."""
    return {"host": socket.gethostname(), "pid": str(os.getpid())}


def describe_run(client, run_id: str, run: Run, tags: Mapping[str, str], logged=None) -> None:
    """Give an MLflow run its flattened settings, tags, dataset, and the config as an artifact, where it lacks them.

    Args:
        logged: the MLflow run as the store has it; None: it was made just now, with its tags.
    """
    from mlflow.entities import Dataset, DatasetInput, Param, RunTag

    settings = flatten(run.config) | {"method": run.method}  # two methods may share a loss
    if logged is not None:
        settings = {key: value for key, value in settings.items() if key not in logged.data.params}
        tags = {key: value for key, value in tags.items() if key not in logged.data.tags}
    new_tags = [] if logged is None else [RunTag(key, value) for key, value in tags.items()]
    if settings or new_tags:
        client.log_batch(run_id, params=[Param(key, value) for key, value in settings.items()], tags=new_tags)
    if logged is None or not logged.inputs.dataset_inputs:
        digest = (tags if logged is None else logged.data.tags | tags)["dataset_digest"]
        dataset = Dataset(run.dataset, digest, source_type="local", source=f"data/raw/{run.dataset}")
        client.log_inputs(run_id, [DatasetInput(dataset)])
    if logged is None or "config.json" not in artifacts(client, run_id):
        client.log_dict(run_id, json.loads(json.dumps(run.config, default=str)), "config.json")


def artifacts(client, run_id: str) -> set[str]:
    return {artifact.path for artifact in client.list_artifacts(run_id)}


class Untracked:
    """Replaces a Tracker if tracking is off or the store cannot be reached. The stage `register` logs the run later."""

    run_id = ""

    def log_history(self, history: list[dict]) -> None:
        pass


@contextmanager
def tracked_run(run: Run, settings: Mapping, dataset_digest: str, memory: Path):
    """A context with the tracker of a training. It ends the MLflow run as FINISHED, as KILLED on Ctrl-C or a
    termination signal, or as FAILED on an error. Nothing here waits for the store, and one that cannot be reached
    causes a printed line; the training goes on.

    Args:
        settings: section `tracking` of params.yaml.
        memory: file with the id of the MLflow run, from which an interrupted training continues it.
    """
    tracker = None
    if settings["enabled"]:
        with tolerate_mlflow_errors(run.name):
            tracker = _start(run, experiment_name(settings["experiment"], run.study), dataset_digest, memory)
    status = "FAILED"
    try:
        yield tracker or Untracked()
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        if tracker:
            tracker.end(status)


def _start(run: Run, experiment: str, dataset_digest: str, memory: Path) -> BackgroundTracker:
    # What imports packages is done here, in the training's thread: see `prepare`.
    prepare()
    tags = tags_of(run, dataset_digest, machine(run.train["portable"], run.train["threads"]))
    tags["requirements_lock"], changed = lock_digest(), uncommitted()
    known = memory.read_text(encoding="utf-8").strip() if memory.exists() else ""

    def open_run(background: BackgroundTracker) -> Tracker:
        client, experiment_id = open_store(experiment, patience=60)
        if known and _continues(client, known):
            background.opened(known)
            return Tracker(client, known)
        run_id = create_run(client, experiment_id, run, tags)
        background.opened(run_id)
        describe_run(client, run_id, run, tags)
        if changed:
            client.log_text(run_id, changed, "uncommitted.diff")
        return Tracker(client, run_id, new=True)

    return BackgroundTracker(run.name, open_run, is_local(store_uri()), memory)


def _continues(client, run_id: str) -> bool:
    """Reopen an MLflow run of an earlier process; False if this store does not have it."""
    from mlflow.exceptions import MlflowException

    try:
        client.update_run(run_id, status="RUNNING")
        for key, value in owner().items():
            client.set_tag(run_id, key, value)
        return True
    except MlflowException as error:
        if error.error_code not in GONE:
            raise
        return False
