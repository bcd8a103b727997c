"""Runs what DVC says is out of date, independent runs side by side, and lets DVC do the rest.

DVC itself runs one stage after the other. Several `dvc --wait-for-lock repro -s <stage>` work side by side in one
workspace once everything upstream of them is done, so: data stages, then trainings, each with its evaluation (and what
needs no run: the theory, which takes longest, and figures of the losses), then what needs several runs, then the rest.
Which stages there are and which are stale is DVC's own answer (`dvc status`); nothing of its graph is repeated here.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from pfml.launch.cache import mend_cache
from pfml.launch.dvc import DATA, DVC, stage_group
from pfml.launch.engines.local import LocalEngine, devices
from pfml.launch.engines.task import Task
from pfml.launch.locks import await_predecessors, copy_lock, mend_lock
from pfml.launch.missing import stages_to_keep, told
from pfml.settings import ConfigError
from pfml.settings.run import project_root
from pfml.settings.runs import planned_runs
from pfml.settings.schema import Params
from pfml.settings.stages import measured_by
from pfml.tracking.provenance import restore
from pfml.training.checkpoint import drop_checkpoint

WAVES = (  # how many stages for one start of DVC, which takes seconds as the later ones do; names or their beginnings
    (1, ("theory", "loss_figures", "train", "ablate", "tune", "map")),
    (8, ("embedding_figures", "evaluate")),
)
AT_ONCE_SHORT = 8  # trainings for one start of DVC, where each takes seconds
AT_ONCE_TRAINED = 50  # likewise, where they come from DVC's cache
# Read by the report; a study may have no stage that makes one.
REPORTED = (Path("reports/tuning"), Path("reports/complexity"))
PAGE = Path("reports/index.html")


def prepare(params: Params) -> None:
    """Mend what a stop left behind in the working directory.

    Raises:
        ConfigError: there is no dvc.yaml, or no Git repository.
        Busy: another pipeline is at work in this folder.
    """
    check_place()
    for folder in REPORTED:
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):  # Git keeps no empty folder, and a clone needs it
            (folder / ".gitkeep").touch()
    await_predecessors()
    mend_lock()
    mend_cache()
    prune_models(params)
    if params.tracking.enabled and any((project_root() / ".checkpoints").glob("*/mlflow_run")):
        from pfml.tracking.mlflow import tolerate_mlflow_errors
        from pfml.tracking.register import close_interrupted

        with tolerate_mlflow_errors("interrupted runs"):
            close_interrupted(params.tracking.experiment, params.study)


def repro(
    params: Params,
    jobs: tuple[int, int],
    missing: bool = False,
    trained: bool = False,
    pull: bool = False,
    only: tuple[str, ...] = (),
) -> bool:
    """Run what is stale in the working directory, which `prepare` has seen; returns whether anything was.

    Args:
        jobs: stages at a time in each wave.
        missing: do not train a run whose result is there (pfml.launch.missing).
        trained: the trainings are in DVC's cache already.
        pull: what DVC's cache lacks is in its remote.
        only: beginnings of the groups of stages to run, with all before them; default all.

    Raises:
        subprocess.CalledProcessError: a stage failed; what is finished is kept.
    """
    stale = stale_stages(only)
    kept = stages_to_keep(params, stale) if missing else set()
    if kept:
        print(told(kept), flush=True)
    if not set(stale) - kept:
        finish(params, page=not only)
        return False
    if any(stage_group(name) in DATA for name in stale):
        dvc("repro", *DATA)
        stale = stale_stages(only)
    for number, (at_once, groups) in enumerate(WAVES):
        names = wave([name for name in stale if name not in kept], groups)
        if names:
            kinds = ", ".join(dict.fromkeys(map(stage_group, names)))
            where = f"{len(devices()) or 'no'} GPU{'s' * (len(devices()) != 1)}, {os.cpu_count()} cores"
            stages = f"{len(names)} stage{'s' * (len(names) != 1)}"
            print(f"{stages} to run ({kinds}), {jobs[number]} at a time on {where}", flush=True)
            single = ("--wait-for-lock", "repro", "--quiet", *["--pull"] * pull, "--single-item")
            together = AT_ONCE_TRAINED if trained else AT_ONCE_SHORT if short_runs(params) else 1
            parts = divided(names, jobs[number], max(at_once, together))
            tasks = [dvc_task(*single, *filter(None, [*some, *map(measured_by, some)])) for some in parts]
            run(LocalEngine(jobs[number]), tasks)
            copy_lock()
            if number + 1 < len(WAVES):
                stale = stale_stages(only)
    restore(params.study, planned_runs(params))  # the report reads it
    if not kept and not only:
        dvc("repro")
    elif rest := [name for name in stale_stages(only) if name not in kept]:  # a plain `repro` would train what is kept
        dvc("repro", "--single-item", *rest)
    copy_lock()
    finish(params, page=not only)
    return True


def finish(params: Params, page: bool = True) -> None:
    """What is no stage: provenance as this study has it, no checkpoints of runs that DVC has stored, and the `page` if
    it is not there, which DVC does not miss, as it is no output.
    """
    runs = planned_runs(params)
    restore(params.study, runs)
    for one in runs:
        drop_checkpoint(one)
    if page and not PAGE.is_file():
        dvc("repro", "--quiet", "--force", "--single-item", "page")


def check_place() -> None:
    """Raise ConfigError where DVC has nothing to run, or cannot run."""
    from dvc.config import Config

    if not Path("dvc.yaml").is_file():
        raise ConfigError(
            f"{Path.cwd() / 'dvc.yaml'}: expected the pipeline's stages, found no file; `git checkout dvc.yaml`"
        )
    if Config(".dvc", validate=False).get("core", {}).get("no_scm"):
        return
    done = subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise ConfigError(
            f"{Path.cwd()}: expected a clone, a repository of Git; Git says: {done.stderr.strip()}; without one "
            "`make tables`, `make presets` and the losses work"
        )


def wave(stale: list[str], groups: tuple[str, ...]) -> list[str]:
    """The stages of some groups. What the trainings or evaluations would wait for at the end comes first: the theory,
    and the figures of embeddings.
    """
    names = [name for name in stale if stage_group(name).startswith(groups)]
    return sorted(names, key=lambda name: stage_group(name) not in ("theory", "embedding_figures"))


def short_runs(params: Params) -> bool:
    """Whether a training takes about as long as a start of DVC: those on features of a frozen trunk do."""
    return all(run.trunk == "frozen" for run in planned_runs(params))


def divided(names: list[str], jobs: int, at_once: int) -> list[list[str]]:
    """`names` in parts of at most `at_once`, smaller where that leaves fewer parts than runs at a time."""
    each = max(1, min(at_once, -(-len(names) // jobs)))
    return [names[first : first + each] for first in range(0, len(names), each)]


def prune_models(params: Params) -> None:
    """Remove trained models of runs that params.yaml no longer asks for (DVC's cache keeps them): stages that read the
    whole folder would take them for a change."""
    expected = {run.paths().model for run in planned_runs(params)}
    for place in ("models/grid/*/*", "models/folds/*/*/*", "models/ablation/*"):
        for folder in list(Path().glob(place)):
            if folder not in expected and folder.is_dir():
                shutil.rmtree(folder)


def stale_stages(only: tuple[str, ...] = ()) -> list[str]:
    """Names of the stages that DVC would run, in the order of dvc.yaml; those of some groups `only`, by the beginnings
    of their names, if there are any.
    """
    found = subprocess.run([*DVC, "status", "--json"], capture_output=True, text=True, encoding="utf-8")
    if found.returncode:
        sys.stderr.write(found.stderr)
        raise subprocess.CalledProcessError(found.returncode, ["dvc", "status"])
    names = list(json.loads(found.stdout.splitlines()[-1]))
    return [name for name in names if name.startswith(only)] if only else names


def dvc_task(*arguments: str) -> Task:
    """DVC with these arguments, as a process of its own that fails where DVC logs an error."""
    return Task(" ".join(arguments), ("-m", "pfml.launch.dvc", *arguments))


def dvc(*arguments: str) -> None:
    """Run DVC here.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    run(LocalEngine(1), [dvc_task(*arguments)])


def run(engine: LocalEngine, tasks: list[Task]) -> None:
    """Run tasks; raises subprocess.CalledProcessError for the first that failed, once those under way have ended."""
    failed = [outcome for outcome in engine.run(tasks) if outcome.code]
    for outcome in failed[:1]:
        raise subprocess.CalledProcessError(outcome.code, ["dvc", *outcome.name.split()])
