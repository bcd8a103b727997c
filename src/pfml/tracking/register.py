"""Keep the MLflow store in step with the results on disk: add missing runs, complete them, close dead ones.

A run that DVC restores from its cache does not log to MLflow, a killed process leaves its MLflow run RUNNING, and a
store that was away lacks epochs, settings or whole runs.
"""

import hashlib
import json
import socket
from collections.abc import Callable, Mapping, Sequence

from pfml.settings.run import Run
from pfml.tracking.mlflow import Tracker, artifacts, create_run, describe_run
from pfml.tracking.models import Kept
from pfml.tracking.pages import Pages
from pfml.tracking.rows import PARENT, Seed, register_rows
from pfml.tracking.store import open_store
from pfml.tracking.tags import ROW, experiment_name, lock_digest, row_of, tags_of

STAMP = "registered"  # tag of a run that has everything: the digest of what it has
PAGE_VERSION = 1  # of what a run's page has; another one completes the pages that are there
PAGE = 100  # runs in a request, which a slow server answers in time
SAME = 1e-5  # relative; histories on disk have 6 digits


def register(
    results: list[tuple[Run, dict, list[dict]]], experiment: str, study: str, fields: Sequence[str] = (),
    kept: Kept = "auto", picture: Callable[[Run], object] | None = None,
) -> dict[str, int]:  # fmt: skip
    """Bring the store up to date with the results of a study.

    Afterwards every result has a finished MLflow run with settings, tags, every epoch, final measures and its page
    (pfml.tracking.pages), whatever failed before. A result from DVC's cache or another machine gets a new MLflow run.
    Every row of the tables has one too (pfml.tracking.rows). In `dvc exp run` a result that the study has keeps its
    MLflow run there, and the others get theirs in the experiment of such runs, without rows.

    Args:
        results: (run, its result with final measures, its history rows) of the study; the result may have the columns
            of pfml.tracking.provenance, where and how the run was trained.
        fields, kept, picture: see pfml.tracking.pages.Pages.

    Returns:
        number of MLflow runs that were "complete" (nothing to do), "finished" (what was missing is added), "restored"
        (made) or "closed" (still RUNNING, while their process on this host no longer exists).

    Raises:
        StoreError, mlflow.exceptions.MlflowException: as `open_store`; what is complete by then stays so.
    """
    client, experiment_id = open_store(name := experiment_name(experiment, study))
    all_logged, rows = by_level(everything(client, experiment_id))
    of_study = name == f"{experiment}-{study}"
    if not of_study:
        all_logged += all_runs(*open_store(f"{experiment}-{study}"))
    seeds = []
    counts = dict.fromkeys(("complete", "finished", "restored"), 0) | {"closed": close_dead_runs(client, all_logged)}
    pages = Pages(client, fields, kept, picture)
    find = _finder(client, all_logged, {result.get("mlflow_run") for _, result, _ in results})
    for run, result, history in results:
        measures = {
            name: result[name]
            for name in (*_measures(result), "w2", "w2_relative", "seconds")
            if result.get(name) is not None
        }
        history = _as_trained(run, history)
        stamp = hashlib.sha256(json.dumps([history, measures, row_of(run), PAGE_VERSION]).encode()).hexdigest()[:16]
        logged = find(run, result, history)
        if logged is not None and logged.data.tags.get(STAMP) == stamp and logged.info.status == "FINISHED":
            counts["complete"] += 1
            run_id = logged.info.run_id
        else:
            counts["restored" if logged is None else "finished"] += 1
            run_id = _complete(pages, experiment_id, run, result, logged, history, measures, stamp)
        if weights := pages.new_model(run, logged.data.tags if logged else {}):
            pages.log_model(run_id, run, weights)
        seeds.append(Seed(run, measures, run_id, logged.data.tags.get(PARENT, "") if logged else ""))
    if of_study:
        register_rows(client, experiment_id, seeds, rows)
    return counts


def _complete(pages: Pages, experiment_id, run: Run, result: Mapping, logged, history, measures, stamp: str) -> str:
    """Add what an MLflow run lacks; make it if there is none. Its stamp comes last: what fails is done again.

    Returns:
        its id.
    """
    client, commit = pages.client, result.get("git_commit") or ""
    tags = tags_of(run, result["dataset_digest"], result)
    clean = commit.removesuffix("-dirty")
    tags |= {"git_commit": commit, "mlflow.source.git.commit": clean}
    tags["requirements_lock"] = lock_digest(clean) if clean else ""
    if logged is None:
        run_id = create_run(client, experiment_id, run, tags | {"restored_from": _origin(result)})
    else:
        run_id = logged.info.run_id
    describe_run(client, run_id, run, tags, logged)
    tracker = Tracker(client, run_id, new=logged is None)
    added = tracker.log_history(history)
    tracker.log_final(measures)
    pages.complete(run_id, run, history, artifacts(client, run_id), bool(added))
    client.set_terminated(run_id, "FINISHED")
    client.set_tag(run_id, STAMP, stamp)
    return run_id


def _origin(result: Mapping) -> str:
    return result.get("mlflow_run") or "no run"


def _finder(client, all_logged: list, named: set):
    """A function that finds the MLflow run of a result, or None.

    A result names its MLflow run. If this store lacks that run, a run made here with the tag `restored_from` has it. A
    result without a name was trained while the store gave no answer, and may have made a run all the same: one that no
    other result names, with the same configuration and nothing but epochs of this result.
    """
    by_id = {logged.info.run_id: logged for logged in all_logged}
    restored = {
        (logged.data.tags.get("config_digest"), logged.data.tags["restored_from"]): logged
        for logged in reversed(all_logged)
        if "restored_from" in logged.data.tags
    }

    def find(run: Run, result: Mapping, history: list[dict]):
        logged = by_id.get(_origin(result))
        if logged and logged.data.tags.get("config_digest", run.digest) == run.digest:
            return logged
        if logged := restored.get((run.digest, _origin(result))):
            return logged
        return None if result.get("mlflow_run") else next(filter(belongs(run, history), all_logged), None)

    def belongs(run: Run, history: list[dict]):
        losses = {row["epoch"]: row["loss"] for row in history}

        def check(logged) -> bool:
            tags, run_id = logged.data.tags, logged.info.run_id
            if tags.get("config_digest") != run.digest or "restored_from" in tags or run_id in named or works(logged):
                return False
            points = client.get_metric_history(run_id, "loss")
            return all(abs(losses.get(p.step, float("inf")) - p.value) <= SAME * abs(p.value) for p in points)

        return check

    return find


def close_interrupted(experiment: str, study: str) -> int:
    """Close the MLflow runs that killed processes of this host left RUNNING; returns their number."""
    client, experiment_id = open_store(experiment_name(experiment, study))
    return close_dead_runs(client, all_runs(client, experiment_id))


def all_runs(client, experiment_id: str) -> list:
    """The MLflow runs of an experiment's trainings, newest first."""
    return by_level(everything(client, experiment_id))[0]


def by_level(all_logged: list) -> tuple[list, list]:
    """MLflow runs of trainings, and of rows."""
    levels: tuple[list, list] = [], []
    for logged in all_logged:
        levels[logged.data.tags.get("level") == ROW].append(logged)
    return levels


def everything(client, experiment_id: str) -> list:
    """Every run of an experiment, newest first."""
    all_logged, token = [], None
    while True:
        order = ["attributes.start_time DESC"]
        page = client.search_runs([experiment_id], order_by=order, page_token=token, max_results=PAGE)
        all_logged += page
        token = page.token
        if not token:
            return all_logged


def close_dead_runs(client, all_logged: list) -> int:
    """Mark MLflow runs as KILLED that are RUNNING in the store while their process on this host no longer exists, or
    that name no process: earlier versions made a run first and named its process in a second request.
    """
    dead = [logged.info.run_id for logged in all_logged if logged.info.status == "RUNNING" and not works(logged)]
    for run_id in dead:
        client.set_terminated(run_id, "KILLED")
    return len(dead)


def works(logged) -> bool:
    """Whether the process of a RUNNING MLflow run may still be at work: it is alive, or on another host."""
    import psutil

    if logged.info.status != "RUNNING":
        return False
    host, pid = (logged.data.tags.get(name, "") for name in ("host", "pid"))
    if host != socket.gethostname():
        return bool(host)
    return pid.isdecimal() and psutil.pid_exists(int(pid))


def _as_trained(run: Run, history: list[dict]) -> list[dict]:
    """The history with the names that the training logged: the file of a run that never sees the test half leaves the
    prefix of its measures out.
    """
    if not run.never_sees_test:
        return history
    return [{f"val_{name}" if _is_measure(name) else name: value for name, value in row.items()} for row in history]


def _is_measure(name: str) -> bool:
    return name.startswith("recall@") or name in ("map@r", "r_precision", "nmi")


def _measures(result: dict) -> list[str]:
    """Names of a result's retrieval measures, all fractions in [0, 1]."""
    starts = ("best_recall@", "concatenated_", "seen_", "few_shot_")
    return [name for name in result if name.startswith(starts) or _is_measure(name)]
