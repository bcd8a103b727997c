"""MLflow: the only file that imports it. The pipeline never reads its results back from here.

MLflow takes seconds to import and its store can be broken by two processes that create it at once, hence the late
imports and the file lock (measured on 3.17.2).
"""

import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from pfml.config import Cell


def project_root() -> Path:
    """The main checkout, also from inside a queued or temporary DVC experiment."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def git_commit() -> str:
    """The commit of the code that runs, with "-dirty" behind it if src/ or stages/ differ from it; "" outside Git."""

    def git(*arguments: str) -> str | None:
        found = subprocess.run(["git", *arguments], capture_output=True, text=True)
        return found.stdout.strip() if found.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    # Only the code: the pipeline itself writes into reports/ while it runs.
    return "" if commit is None else commit + ("-dirty" if git("status", "--porcelain", "--", "src", "stages") else "")


def open_store(experiment: str):
    """A client on the tracking store and the experiment's id; creates both once, whoever comes first.

    MLFLOW_TRACKING_URI names the store; without it, mlflow.db in the project's root.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
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
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            return client, found.experiment_id
        # An absolute place: a relative one would follow the folder of whoever creates the experiment.
        local = uri.startswith(("sqlite:", "file:"))
        place = (root / "mlruns" / experiment).as_uri() if local else None
        return client, client.create_experiment(experiment, artifact_location=place)


class Tracker:
    """One MLflow run of one cell."""

    def __init__(self, client, run_id: str):
        self.client, self.run_id = client, run_id
        self._logged = max((m.step for m in client.get_metric_history(run_id, "loss")), default=0)

    def log_history(self, history: list[dict]) -> None:
        """Log the epochs that the run does not have yet, in one batch; safe to call again after a resume."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [
            Metric(metric_name(name), float(value), now, row["epoch"])
            for row in history
            if row["epoch"] > self._logged
            for name, value in row.items()
            if name != "epoch" and value is not None and value == value
        ]
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
    """MLflow refuses "@" in names: recall@1 -> recall_at_1."""
    return name.replace("@", "_at_")


def paper_table(cell: Cell) -> str:
    """The table or figure of the paper that a cell belongs to."""
    if cell.axis:
        return {"proxies_per_class": "Figure 3a", "delta": "Figure 3b", "alpha": "Figure 3c"}.get(
            cell.axis, "Figure 3d"
        )
    return "Table 2" if cell.noise else "Table 1"


def tags_of(cell: Cell, dataset_digest: str) -> dict[str, str]:
    commit, stage = git_commit(), os.environ.get("DVC_STAGE", "")
    return {
        "mlflow.source.git.commit": commit.removesuffix("-dirty"), "mlflow.source.name": stage or "stages/train.py",
        "git_commit": commit, "dvc_stage": stage,
        "dvc_exp": os.environ.get("DVC_EXP_NAME") or "workspace", "dataset": cell.dataset,
        "dataset_digest": dataset_digest, "config_digest": cell.digest, "study": cell.study, "method": cell.method,
        "noise": str(cell.noise), "seed": str(cell.seed), "ablation": cell.axis, "paper_table": paper_table(cell),
    }  # fmt: skip


def flatten(settings: dict, prefix: str = "") -> dict[str, str]:
    """{"loss": {"alpha": 3}} -> {"loss.alpha": "3"}."""
    flat = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": str(value)}
    return flat


def create_run(client, experiment_id: str, cell: Cell, tags: dict[str, str]) -> str:
    """A new run named after the cell, with its flattened settings, its tags and its config as an artifact."""
    from mlflow.entities import Dataset, DatasetInput, Param, RunTag

    owner = {"host": socket.gethostname(), "pid": str(os.getpid())}
    run_id = client.create_run(experiment_id, run_name=cell.name).info.run_id
    client.log_batch(
        run_id,
        params=[Param(key, value) for key, value in flatten(cell.config).items()],
        tags=[RunTag(key, value) for key, value in (tags | owner).items()],
    )
    dataset = Dataset(cell.dataset, tags["dataset_digest"], source_type="local", source=f"data/raw/{cell.dataset}")
    client.log_inputs(run_id, [DatasetInput(dataset)])
    client.log_dict(run_id, json.loads(json.dumps(cell.config, default=str)), "config.json")
    return run_id


@contextmanager
def tracked_run(cell: Cell, experiment: str, dataset_digest: str, memory: Path):
    """The MLflow run of a training: a new one, or the one whose id the file `memory` remembers from an interruption.

    The run ends as FINISHED, as KILLED on Ctrl-C or a termination signal, as FAILED on an error.
    """
    client, experiment_id = open_store(f"{experiment}-{cell.study}")
    run_id = memory.read_text().strip() if memory.exists() else ""
    if run_id and not _continues(client, run_id):
        run_id = ""
    if not run_id:
        run_id = create_run(client, experiment_id, cell, tags_of(cell, dataset_digest))
        memory.write_text(run_id)
    status = "FAILED"
    try:
        yield Tracker(client, run_id)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        client.set_terminated(run_id, status)


def _continues(client, run_id: str) -> bool:
    """Reopen a run of an earlier process; False if this store does not have it."""
    from mlflow.exceptions import MlflowException

    try:
        client.update_run(run_id, status="RUNNING")
        for key, value in {"host": socket.gethostname(), "pid": str(os.getpid())}.items():
            client.set_tag(run_id, key, value)
        return True
    except MlflowException:
        return False


def register(results: list[tuple[Cell, dict, list[dict]]], experiment: str, study: str) -> dict[str, int]:
    """Bring the store up to date with finished results: every cell has a finished run with history, final measures
    and a plot of its history. A result that came from DVC's cache or another machine gets a run of its own.

    Args:
        results: (cell, its result with final measures, its history rows) of the study.

    Returns:
        counts: "complete" (nothing to do), "finished" (final measures added), "restored" (run made), "closed" (runs of
        this host whose process is gone and that were still RUNNING).
    """
    client, experiment_id = open_store(f"{experiment}-{study}")
    runs = all_runs(client, experiment_id)
    counts = dict.fromkeys(("complete", "finished", "restored"), 0) | {"closed": close_dead_runs(client, runs)}
    newest = {run.data.tags.get("config_digest"): run for run in reversed(runs) if run.info.status == "FINISHED"}
    for cell, result, history in results:
        run = newest.get(cell.digest)
        measures = {
            name: result[name]
            for name in (*_measures(result), "w2", "w2_relative", "seconds")
            if result.get(name) is not None
        }
        stored = {} if run is None else run.data.metrics
        if all(abs(stored.get("final/" + metric_name(k), float("nan")) - v) < 1e-9 for k, v in measures.items()):
            counts["complete"] += 1
            continue
        if run is None:
            tags = tags_of(cell, result["dataset_digest"]) | {
                "git_commit": result["git_commit"], "restored": "from DVC's cache or a committed result"
            }  # fmt: skip
            run_id = create_run(client, experiment_id, cell, tags)
            newest[cell.digest] = client.get_run(run_id)
        else:
            run_id = run.info.run_id
        counts["finished" if run else "restored"] += 1
        tracker = Tracker(client, run_id)
        tracker.log_history(history)
        tracker.log_final(measures)
        client.log_figure(run_id, history_plot(cell, history), "history.png")
        if run is None:
            client.set_terminated(run_id, "FINISHED")
    return counts


def all_runs(client, experiment_id: str) -> list:
    """Every run of an experiment, newest first."""
    runs, token = [], None
    while True:
        page = client.search_runs([experiment_id], order_by=["attributes.start_time DESC"], page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def close_dead_runs(client, runs: list) -> int:
    """Mark runs as KILLED that are RUNNING in the store while their process on this host no longer exists."""
    import psutil

    dead = [
        run.info.run_id
        for run in runs
        if run.info.status == "RUNNING"
        and run.data.tags.get("host") == socket.gethostname()
        and not psutil.pid_exists(int(run.data.tags["pid"]))
    ]
    for run_id in dead:
        client.set_terminated(run_id, "KILLED")
    return len(dead)


def _measures(result: dict) -> list[str]:
    return [
        name
        for name in result
        if name.startswith(("recall@", "best_recall@")) or name in ("map@r", "r_precision", "nmi")
    ]


def history_plot(cell: Cell, history: list[dict]):
    """Loss and R@1 over epochs as a matplotlib figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "recall@1")):
        points = [(row["epoch"], row[name]) for row in history if row.get(name) is not None]
        axes.plot([epoch for epoch, _ in points], [value for _, value in points])
        axes.set(xlabel="epoch", title=f"{cell.name}: {name}")
        axes.title.set_fontsize(8)
    return figure
