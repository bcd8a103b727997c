"""Keep the MLflow store in step with the results on disk: add missing runs, complete them, close dead ones.

A run that DVC restores from its cache does not log to MLflow, and a killed process leaves its MLflow run RUNNING.
"""

import socket

from pfml.settings.run import Run
from pfml.tracking.mlflow import Tracker, create_run, metric_name, open_store, tags_of


def register(results: list[tuple[Run, dict, list[dict]]], experiment: str, study: str) -> dict[str, int]:
    """Bring the store up to date with the results of a study.

    Afterwards every result has a finished MLflow run with history, final measures and a plot of its history. A result
    from DVC's cache or another machine gets a new MLflow run.

    Args:
        results: (run, its result with final measures, its history rows) of the study; the result may have the columns
            of pfml.tracking.provenance, where and how the run was trained.

    Returns:
        number of MLflow runs that were "complete" (nothing to do), "finished" (final measures added), "restored" (made)
        or "closed" (still RUNNING, while their process on this host no longer exists).
    """
    client, experiment_id = open_store(f"{experiment}-{study}")
    all_logged = all_runs(client, experiment_id)
    counts = dict.fromkeys(("complete", "finished", "restored"), 0) | {"closed": close_dead_runs(client, all_logged)}
    # A result names its MLflow run. If this store lacks that run, a run made here with the tag `restored_from` has it.
    known = {
        (logged.data.tags.get("config_digest"), logged.data.tags.get("restored_from", logged.info.run_id)): logged
        for logged in all_logged
        if logged.info.status == "FINISHED"
    }
    for run, result, history in results:
        origin = result.get("mlflow_run") or "no run"
        logged = known.get((run.digest, origin))
        measures = {
            name: result[name]
            for name in (*_measures(result), "w2", "w2_relative", "seconds")
            if result.get(name) is not None
        }
        stored = {} if logged is None else logged.data.metrics
        if all(abs(stored.get("final/" + metric_name(k), float("nan")) - v) < 1e-9 for k, v in measures.items()):
            counts["complete"] += 1
            continue
        if logged is None:
            tags = tags_of(run, result["dataset_digest"], result)
            tags |= {"git_commit": result.get("git_commit") or "", "restored_from": origin}
            run_id = create_run(client, experiment_id, run, tags)
            known[run.digest, origin] = client.get_run(run_id)
        else:
            run_id = logged.info.run_id
        counts["finished" if logged else "restored"] += 1
        tracker = Tracker(client, run_id)
        tracker.log_history(history)
        tracker.log_final(measures)
        client.log_figure(run_id, history_plot(run, history), "history.png")
        if logged is None:
            client.set_terminated(run_id, "FINISHED")
    return counts


def close_interrupted(experiment: str, study: str) -> int:
    """Close the MLflow runs that killed processes of this host left RUNNING; returns their number."""
    client, experiment_id = open_store(f"{experiment}-{study}")
    return close_dead_runs(client, all_runs(client, experiment_id))


def all_runs(client, experiment_id: str) -> list:
    """Every run of an experiment, newest first."""
    all_logged, token = [], None
    while True:
        page = client.search_runs([experiment_id], order_by=["attributes.start_time DESC"], page_token=token)
        all_logged += page
        token = page.token
        if not token:
            return all_logged


def close_dead_runs(client, all_logged: list) -> int:
    """Mark MLflow runs as KILLED that are RUNNING in the store while their process on this host no longer exists."""
    import psutil

    dead = [
        logged.info.run_id
        for logged in all_logged
        if logged.info.status == "RUNNING"
        and logged.data.tags.get("host") == socket.gethostname()
        and not psutil.pid_exists(int(logged.data.tags["pid"]))
    ]
    for run_id in dead:
        client.set_terminated(run_id, "KILLED")
    return len(dead)


def _measures(result: dict) -> list[str]:
    """Names of a result's retrieval measures, all fractions in [0, 1]."""
    starts = ("recall@", "best_recall@", "concatenated_", "seen_", "few_shot_")
    names = ("map@r", "r_precision", "nmi")
    return [name for name in result if name.startswith(starts) or name in names]


def history_plot(run: Run, history: list[dict]):
    """Loss and R@1 over epochs as a matplotlib figure; in a fold R@1 on its validation classes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "recall@1" if run.fold is None else "val_recall@1")):
        points = [(row["epoch"], row[name]) for row in history if row.get(name) is not None]
        axes.plot([epoch for epoch, _ in points], [value for _, value in points])
        axes.set(xlabel="epoch", title=f"{run.name}: {name}")
        axes.title.set_fontsize(8)
    return figure
