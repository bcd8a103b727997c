"""Log runs and searches to MLflow. The pipeline never reads its results back from MLflow.

No other file imports mlflow. Imports are late, since MLflow takes seconds to import. A file lock guards the creation of
the store, which two processes at once can break (measured on 3.17.2).
"""

import hashlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

from pfml.settings.run import Run, project_root
from pfml.tracking.provenance import MACHINE, machine


def git_commit() -> str:
    """The commit of the checkout, with suffix "-dirty" if src/ or stages/ differ from it; "" outside Git."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    # Only the code counts, since the pipeline itself writes into reports/ while it runs.
    return "" if commit is None else commit + ("-dirty" if git("status", "--porcelain", "--", "src", "stages") else "")


def open_store(experiment: str):
    """A client of the tracking store, and the experiment's id. The first process creates both, under a lock.

    The store is MLFLOW_TRACKING_URI of the environment, else mlflow.db in the project's root.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7, the default, takes minutes for a dead server
    import logging

    from filelock import FileLock

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    root = project_root()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"
    (root / ".locks").mkdir(exist_ok=True)
    with FileLock(root / ".locks/mlflow.init"):
        client = MlflowClient(uri)
        existing = client.get_experiment_by_name(experiment)
        if existing is not None:
            return client, existing.experiment_id
        # An absolute place, since a relative one would depend on the folder of the process that creates the experiment.
        local = uri.startswith(("sqlite:", "file:"))
        place = (root / "mlruns" / experiment).as_uri() if local else None
        return client, client.create_experiment(experiment, artifact_location=place)


class Tracker:
    """Writes the history and the measures of one run to its MLflow run."""

    def __init__(self, client, run_id: str):
        self.client, self.run_id = client, run_id
        self._logged = max((m.step for m in client.get_metric_history(run_id, "loss")), default=0)

    def log_history(self, history: list[dict]) -> None:
        """Log the epochs that the MLflow run lacks, in one batch. Safe to call again after a resume."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [
            Metric(metric_name(name), float(value), now, int(row["epoch"]))
            for row in history
            if row["epoch"] > self._logged
            for name, value in row.items()
            if name != "epoch" and value is not None and value == value
        ]
        with tolerate_mlflow_errors(self.run_id):
            for start in range(0, len(points), 1000):
                self.client.log_batch(self.run_id, metrics=points[start : start + 1000])
        self._logged = max(self._logged, max((row["epoch"] for row in history), default=0))

    def log_final(self, metrics: dict[str, float]) -> None:
        """Log a run's final measures under final/<name>."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric("final/" + metric_name(name), float(value), now, 0) for name, value in metrics.items()]
        self.client.log_batch(self.run_id, metrics=points)


def metric_name(name: str) -> str:
    """recall@1 -> recall_at_1, since MLflow refuses "@" in names."""
    return name.replace("@", "_at_")


def paper_table(run: Run) -> str:
    """The table or figure of the paper that a run reproduces."""
    if run.axis:
        return {"proxies_per_class": "Figure 3a", "delta": "Figure 3b", "alpha": "Figure 3c"}.get(run.axis, "Figure 3d")
    if run.fold is not None:
        return "Table 6" if run.dataset == "cub200" else "Table 7"
    return "Table 2" if run.noise else "Table 1"


def tags_of(run: Run, dataset_digest: str, origin: Mapping[str, str]) -> dict[str, str]:
    """Tags to find and group MLflow runs by: code, stage, experiment, data, configuration, place in the paper, machine.

    Args:
        origin: columns of pfml.tracking.provenance.
    """
    commit, stage = git_commit(), os.environ.get("DVC_STAGE", "")
    return {
        "mlflow.source.git.commit": commit.removesuffix("-dirty"), "mlflow.source.name": stage or "stages/train.py",
        "git_commit": commit, "dvc_stage": stage,
        "dvc_exp": os.environ.get("DVC_EXP_NAME") or "workspace", "dataset": run.dataset,
        "dataset_digest": dataset_digest, "config_digest": run.digest, "study": run.study, "method": run.method,
        "noise": str(run.noise), "seed": str(run.seed), "ablation": run.axis, "paper_table": paper_table(run),
        "fold": "" if run.fold is None else str(run.fold),
    } | {name: origin.get(name) or "" for name in MACHINE}  # fmt: skip


def flatten(settings: dict, prefix: str = "") -> dict[str, str]:
    """{"loss": {"alpha": 3}} -> {"loss.alpha": "3"}."""
    flat = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": str(value)}
    return flat


def create_run(client, experiment_id: str, run: Run, tags: dict[str, str]) -> str:
    """Make an MLflow run named after the run, with flattened settings, tags, and the config as an artifact."""
    from mlflow.entities import Dataset, DatasetInput, Param, RunTag

    owner = {"host": socket.gethostname(), "pid": str(os.getpid())}
    run_id = client.create_run(experiment_id, run_name=run.name).info.run_id
    client.log_batch(
        run_id,
        params=[Param(key, value) for key, value in flatten(run.config).items()],
        tags=[RunTag(key, value) for key, value in (tags | owner).items()],
    )
    dataset = Dataset(run.dataset, tags["dataset_digest"], source_type="local", source=f"data/raw/{run.dataset}")
    client.log_inputs(run_id, [DatasetInput(dataset)])
    client.log_dict(run_id, json.loads(json.dumps(run.config, default=str)), "config.json")
    return run_id


class Untracked:
    """Replaces a Tracker if tracking is off or the store cannot be reached. The stage `register` logs the run later."""

    run_id = ""

    def log_history(self, history: list[dict]) -> None:
        pass


@contextmanager
def tracked_run(run: Run, settings: Mapping, dataset_digest: str, memory: Path):
    """A context with the tracker of a training. It ends the MLflow run as FINISHED, as KILLED on Ctrl-C or a
    termination signal, or as FAILED on an error. A store that cannot be reached causes a warning; the training goes on.

    Args:
        settings: section `tracking` of params.yaml.
        memory: file with the id of the MLflow run, from which an interrupted training continues it.
    """
    tracker = Untracked()
    if settings["enabled"]:
        with tolerate_mlflow_errors(run.name):
            tracker = _open_run(run, settings["experiment"], dataset_digest, memory)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        if isinstance(tracker, Tracker):
            with tolerate_mlflow_errors(run.name):
                tracker.client.set_terminated(tracker.run_id, status)


@contextmanager
def tolerate_mlflow_errors(what: str):
    """Turn every exception into a printed line, so that a failure of MLflow does not stop a training."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        print(
            f"{what}: not logged, MLflow's store failed ({reason}); dvc repro -f -s register makes up for it",
            flush=True,
        )


def log_search(search, study: Mapping, trials, won, path: Path) -> None:
    """Log a method's search as one MLflow run in the experiment "<experiment>-<study>-tuning".

    Budget, space and the best trial's settings are its parameters, every trial is a step of its metrics, and the file
    of all trials is its artifact. A search that the store already has is not logged again. A store that cannot be
    reached causes a warning.

    Args:
        search: pfml.tuning.Search.
        study: data/plan/study.json.
        trials: of pfml.tuning, in their order.
        won: the best of them.
        path: the file of trials.
    """
    tracking, method = study["tracking"], search.method
    if not tracking["enabled"]:
        return
    with tolerate_mlflow_errors(f"search of {method}"):
        from mlflow.entities import Metric, Param, RunTag

        client, experiment_id = open_store(f"{tracking['experiment']}-{study['study']}-tuning")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        same = f"tags.trials_digest = '{digest}' and tags.method = '{method}' and attributes.status = 'FINISHED'"
        if client.search_runs([experiment_id], same, max_results=1):
            return
        now = int(time.time() * 1000)
        space = {key: one.model_dump() for key, one in search.space.items()}
        settings = {"trials": len(trials), "trainings": len(trials) * len(won.noise), "best_trial": won.number}
        settings |= {f"best.{key}": value for key, value in won.settings.items()}
        settings |= {f"space.{key}": json.dumps(value) for key, value in space.items()}
        points = [
            Metric(metric_name(f"{name} at noise {noise:g}"), value, now, trial.number)
            for trial in trials
            for name, values in (("val_map@r", trial.map_at_r), ("val_recall@1", trial.recall_at_1))
            for noise, value in zip(trial.noise, values)
        ] + [Metric("score", trial.score, now, trial.number) for trial in trials]
        tags = {"method": method, "dataset": search.dataset, "trials_digest": digest}
        tags |= {"study": study["study"], "git_commit": git_commit(), "dvc_stage": os.environ.get("DVC_STAGE", "")}
        run_id = client.create_run(experiment_id, run_name=f"search of {method}").info.run_id
        client.log_batch(
            run_id,
            params=[Param(key, str(value)) for key, value in settings.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        for start in range(0, len(points), 1000):
            client.log_batch(run_id, metrics=points[start : start + 1000])
        client.log_artifact(run_id, str(path))
        client.set_terminated(run_id, "FINISHED")


def _open_run(run: Run, experiment: str, dataset_digest: str, memory: Path) -> Tracker:
    client, experiment_id = open_store(f"{experiment}-{run.study}")
    run_id = memory.read_text().strip() if memory.exists() else ""
    here = machine(run.train["portable"], run.train["threads"])
    if run_id and not _continues(client, run_id):
        run_id = ""
    if not run_id:
        run_id = create_run(client, experiment_id, run, tags_of(run, dataset_digest, here))
        memory.write_text(run_id)
    return Tracker(client, run_id)


def _continues(client, run_id: str) -> bool:
    """Reopen an MLflow run of an earlier process; False if this store does not have it."""
    from mlflow.exceptions import MlflowException

    try:
        client.update_run(run_id, status="RUNNING")
        for key, value in {"host": socket.gethostname(), "pid": str(os.getpid())}.items():
            client.set_tag(run_id, key, value)
        return True
    except MlflowException:
        return False
