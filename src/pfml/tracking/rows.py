"""One MLflow run for each row of the tables: mean and standard deviation over its seeds, so that MLflow's pages compare
methods. The runs of the seeds lie below it.
"""

import hashlib
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pfml.settings.run import Run
from pfml.tracking.mlflow import flatten, metric_name
from pfml.tracking.tags import ROW, paper_table, row_of

PARENT = "mlflow.parentRunId"  # the tag by which MLflow shows a run below another
STAMP = "registered"  # tag: the digest of what the row was made of


@dataclass(frozen=True)
class Seed:
    """A finished run with its final measures, the id of its MLflow run, and of the run above that ("" for none)."""

    run: Run
    measures: Mapping[str, float]
    run_id: str
    above: str


def register_rows(client, experiment_id: str, seeds: Sequence[Seed], known: Sequence) -> None:
    """Bring the rows of an experiment up to date. A row that is up to date causes no request.

    A row has a metric final/<measure> with the mean over its seeds, final/<measure>_std from two seeds on, and `n`,
    their number; of a cross validation over its seeds and folds. Its description links to them. A row whose settings
    changed is another row; the earlier one stays with its own seeds.

    Args:
        known: the rows that the experiment has, MLflow runs.
    """
    found = {logged.data.tags.get("row_digest"): logged for logged in known}
    rows: dict[str, list[Seed]] = {}
    for seed in seeds:
        rows.setdefault(row_digest(seed.run), []).append(seed)
    for digest, group in rows.items():
        group.sort(key=lambda seed: (seed.run.seed, seed.run.fold or 0))
        row_id = _register_row(client, experiment_id, digest, group, found.get(digest))
        for seed in group:
            if seed.above != row_id:
                client.set_tag(seed.run_id, PARENT, row_id)


def row_name(run: Run) -> str:
    """`row: pfml, noise 0.2, glyphs`; with `alpha=4.0` for a point of an ablation, `folds` for a cross validation."""
    point = [f"{run.axis}={run.value}"] if run.axis else []
    return "row: " + ", ".join([run.method, f"noise {run.noise}", *point, *["folds"][run.fold is None :], run.dataset])


def row_digest(run: Run) -> str:
    """The digest of the settings that the seeds of a row share. The folds of a cross validation are one row."""
    return replace(run, seed=0, fold=None if run.fold is None else 0).digest


def row_metrics(measures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """`n`, and the mean and sample standard deviation of each measure that every seed has."""
    metrics = {"n": float(len(measures))}
    for name in measures[0]:
        if all(name in one for one in measures):
            values, metric = [float(one[name]) for one in measures], f"final/{metric_name(name)}"
            metrics[metric] = statistics.fmean(values)
            if len(values) > 1:
                metrics[f"{metric}_std"] = statistics.stdev(values)
    return metrics


def _register_row(client, experiment_id: str, digest: str, group: list[Seed], logged) -> str:
    """Make or renew a row unless it is up to date; returns the id of its MLflow run."""
    from mlflow.entities import Metric, Param, RunTag

    run, metrics = group[0].run, row_metrics([seed.measures for seed in group])
    stamp = hashlib.sha256(json.dumps([[seed.run_id for seed in group], metrics]).encode()).hexdigest()[:16]
    if logged is not None and logged.data.tags.get(STAMP) == stamp:
        return logged.info.run_id
    links = [f"[{seed.run.name}](#/experiments/{experiment_id}/runs/{seed.run_id})" for seed in group]
    tags = {
        "row": row_of(run), "row_digest": digest, "level": ROW, "study": run.study, "dataset": run.dataset,
        "method": run.method, "noise": str(run.noise), "ablation": run.axis, "paper_table": paper_table(run),
        "mlflow.note.content": f"Mean over {len(group)}: " + ", ".join(links),
    }  # fmt: skip
    settings = {}
    if logged is None:
        settings = {key: value for key, value in flatten(run.config).items() if key not in ("seed", "fold")}
        settings["method"] = run.method
        logged = client.create_run(experiment_id, run_name=row_name(run), tags=tags)
    row_id, now = logged.info.run_id, int(time.time() * 1000)
    client.log_batch(
        row_id, metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
        params=[Param(key, value) for key, value in settings.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )  # fmt: skip
    client.set_terminated(row_id, "FINISHED")
    client.set_tag(row_id, STAMP, stamp)
    return row_id
