"""Log to MLflow what trains many networks and keeps none: a search for a method's settings, a map of two settings.

Each is one MLflow run whose metrics have a step for every training.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from pfml.settings.run import Run
from pfml.tracking.mlflow import AT_ONCE, metric_name, owner
from pfml.tracking.store import open_store, tolerate_mlflow_errors
from pfml.tracking.tags import git_commit


def log_search(search, study: Mapping, trials, won, path: Path) -> None:
    """Log a method's search in the experiment "<experiment>-<study>-tuning".

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
    space = {key: one.model_dump() for key, one in search.space.items()}
    settings = {"trials": len(trials), "trainings": len(trials) * len(won.noise), "best_trial": won.number}
    settings |= {f"best.{key}": value for key, value in won.settings.items()}
    settings |= {f"space.{key}": json.dumps(value) for key, value in space.items()}
    points = [
        (f"{name} at noise {noise:g}", value, trial.number)
        for trial in trials
        for name, values in (("val_map@r", trial.map_at_r), ("val_recall@1", trial.recall_at_1))
        for noise, value in zip(trial.noise, values)
    ] + [("score", trial.score, trial.number) for trial in trials]
    tags = {"method": search.method, "dataset": search.dataset}
    _log(study, "tuning", f"search of {search.method}", settings, points, tags, path, "its trials are in")


def log_map(name: str, first: Run, study: Mapping, rows: Iterable[Mapping], path: Path) -> None:
    """Log a map in the experiment "<experiment>-<study>-maps": a step of its metrics for every point, the file of all
    points as its artifact.

    Args:
        name: of map.over.
        first: the run of its first point.
        study: data/plan/study.json.
        rows: of pfml.evaluation.maps.make_map.
        path: the file of points.
    """
    rows = list(rows)
    points = [
        (key, value, step)
        for step, row in enumerate(rows)
        for key, value in row.items()
        if isinstance(value, int | float)
    ]
    settings = {"points": len(rows), "noise": first.noise, "seed": first.seed, "backbone": first.backbone}
    tags = {"method": first.method, "dataset": first.dataset}
    _log(study, "maps", f"map of {name}", settings, points, tags, path, "its points are in")


def _log(
    study: Mapping,
    kind: str,
    title: str,
    settings: Mapping,
    points: Iterable[tuple],
    tags: Mapping,
    path: Path,
    where: str,
) -> None:
    """One MLflow run, unless the store has it: parameters, metrics (name, value, step), tags, and a file."""
    tracking = study["tracking"]
    if not tracking["enabled"]:
        return
    with tolerate_mlflow_errors(title, f"{where} {path}"):
        from mlflow.entities import Metric, Param

        client, experiment_id = open_store(f"{tracking['experiment']}-{study['study']}-{kind}")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        same = (
            f"tags.trials_digest = '{digest}' and tags.method = '{tags['method']}' and attributes.status = 'FINISHED'"
        )
        if client.search_runs([experiment_id], same, max_results=1):
            return
        now = int(time.time() * 1000)
        metrics = [Metric(metric_name(name), value, now, step) for name, value, step in points]
        tags = {**tags, "trials_digest": digest, "study": study["study"], "git_commit": git_commit()}
        tags |= {"dvc_stage": os.environ.get("DVC_STAGE", "")}
        run_id = client.create_run(experiment_id, run_name=title, tags=tags | owner()).info.run_id
        client.log_batch(run_id, params=[Param(key, str(value)) for key, value in settings.items()])
        for start in range(0, len(metrics), AT_ONCE):
            client.log_batch(run_id, metrics=metrics[start : start + AT_ONCE])
        client.log_artifact(run_id, str(path))
        client.set_terminated(run_id, "FINISHED")
