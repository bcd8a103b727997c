"""Run the points of a sweep: each is a study of its own in a working copy, whose result becomes an experiment of DVC in
the project. Trainings that points share, and those of earlier sweeps, come from DVC's cache.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pfml.launch.copies import at_root, copy_with, git
from pfml.launch.dvc import DATA, WATCHED
from pfml.launch.engines.local import LocalEngine
from pfml.launch.engines.task import Task
from pfml.launch.sweep.points import Point, axes_of, points_of
from pfml.settings import ConfigError
from pfml.settings.files import write_whole
from pfml.settings.load import load_params
from pfml.settings.presets import PARAMS
from pfml.settings.run import COPIES
from pfml.settings.schema import Params

GROUPS = (*DATA, "train", "evaluate", "register", "report")  # the stages of a point, by the beginnings of their names


def sweep(settings: Sequence[str], name: str | None, jobs: int, options: Sequence[str]) -> int:
    """Run a sweep from the project's root; returns the exit code, 1 if points failed. The same command again goes on.

    Args:
        settings: as of `axes_of`.
        name: of the sweep; default the settings' own.
        jobs: points at a time.
        options: of the engine, for each point's launcher.

    Raises:
        ConfigError: as `axes_of` and `points_of`.
    """
    from pfml.launch.sweep.shown import show

    at_root("pfml sweep")
    axes = axes_of(settings)
    points = points_of(PARAMS.read_text(encoding="utf-8"), axes)
    name = name or "-".join(key.rpartition(".")[2] for key in axes)
    print(f"sweep {name}: {len(points)} points, {', '.join(_methods(points[0].params))}", flush=True)
    failed = _run_all({copy_of(name, point): point for point in points}, jobs, options)
    print(show(name, axes, [(point, Path(COPIES, copy_of(name, point))) for point in points]))
    if failed:
        print(f"failed: {len(failed)} of {len(points)} points ({', '.join(failed)}); the same command tries them again",
              file=sys.stderr)  # fmt: skip
    return int(bool(failed))


def copy_of(name: str, point: Point) -> str:
    return f"sweep-{name}-{point.name}"


def _methods(params: Params) -> list[str]:
    return params.grid.field + params.grid.baseline


def _run_all(copies: dict[str, Point], jobs: int, options: Sequence[str]) -> list[str]:
    """Run points, `jobs` at a time, each with one run at a time; the names of those that failed, whose last lines are
    printed. Points that are at work at an interrupt stop as `make repro` does.
    """
    Path(COPIES).mkdir(exist_ok=True)
    tasks, failed = [], []
    for copy, point in copies.items():
        file = Path(COPIES, f"{copy}.yaml")
        write_whole(file, point.text)
        tasks.append(Task(copy, ("-m", "pfml.launch", "-j1", f"--point={file}", f"--name={point.name}", *options)))

    def log(copy: str) -> Path:
        return Path(COPIES, f"{copy}.log")

    for done, outcome in enumerate(LocalEngine(jobs, keep_going=True, log=log).run(tasks), start=1):
        point, code = copies[outcome.name].name, outcome.code
        print(f"{done} of {len(copies)}: {point}{f' failed, exit code {code}' * bool(code)}", flush=True)
        if code:
            failed.append(point)
            lines = log(outcome.name).read_text(encoding="utf-8", errors="replace").splitlines()
            print("    " + "\n    ".join(lines[-5:]))
    return failed


def run_point(file: Path, name: str, pipeline: Callable[[Params], bool]) -> bool:
    """Run a point in its working copy and keep it as an experiment of the project.

    Args:
        file: its params.yaml, .studies/<copy>.yaml.
        name: of the experiment.

    Raises:
        ConfigError: the experiment cannot be kept; says what DVC or Git said.
    """
    os.environ["DVC_EXP_NAME"] = name  # the name of its experiment in MLflow too
    with copy_with(file.stem, file.read_text(encoding="utf-8"), f"{file.stem}: another `pfml sweep`") as project:
        ran = pipeline(load_params())
        # Of one stage that is up to date: without a name DVC would take every stage's outputs for what it has made.
        save = [*WATCHED, "exp", "save", "--force", "--name", name, "--include-untracked", "reports", "report"]
        _said(subprocess.run(save, capture_output=True, text=True, encoding="utf-8"))
        head = git(Path.cwd(), "rev-parse", "HEAD").stdout.strip()
        experiment = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
        quiet = ("--quiet", "--no-tags", "--no-write-fetch-head")
        _said(git(project, "fetch", *quiet, str(Path.cwd()), f"+{experiment}:{experiment}"))
    return ran


def _said(done: subprocess.CompletedProcess) -> None:
    if done.returncode:
        raise ConfigError(f"the point cannot be kept as an experiment: {' '.join((done.stdout + done.stderr).split())}")
