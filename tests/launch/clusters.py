"""A study of four runs, how `pfml grid` is called on it, and what it leaves."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.pipeline.clones import ENVIRONMENT, REPRO, clone, sh

GRID = (sys.executable, "-m", "pfml.launch", "--on", "ray", "--address")
OURS = {
    "tracking": {"enabled": False},
    "train": {"epochs": 12},
    "ablation": {"points": []},
    "complexity": {"baseline": []},
}
WHERE = "src"
if found := importlib.util.find_spec("ray"):  # also where it is not installed in the environment itself
    WHERE = os.pathsep.join(["src", str(Path(found.origin).parents[1])])


def study_of_one_machine(folder: Path, **study) -> Path:
    clone(folder, **study)
    sh(folder, *REPRO)
    return folder


def driver_with_remote(folder: Path, store: str, **study) -> Path:
    """A clone that has run nothing, with a DVC remote."""
    folder.mkdir()
    clone(folder, **study)
    sh(folder, "dvc", "remote", "add", "--default", "--local", "store", store)
    return folder


def start_grid(folder: Path, address: str, **variables: str) -> subprocess.Popen:
    """`pfml grid` in a driver; it prints to the file <driver>.log beside the folder."""
    with log_of(folder).open("w") as out:
        return subprocess.Popen(
            [*GRID, address], cwd=folder, env=ENVIRONMENT | {"PYTHONPATH": WHERE} | variables, stdout=out,
            stderr=subprocess.STDOUT,
        )  # fmt: skip


def log_of(folder: Path) -> Path:
    return folder.with_suffix(".log")


def run_grid(folder: Path, address: str, code: int = 0) -> str:
    """`pfml grid` in a driver, to its end; what it printed."""
    assert start_grid(folder, address).wait(timeout=900) == code, log_of(folder).read_text()[-3000:]
    return log_of(folder).read_text()


def results(folder: Path) -> dict:
    """Everything that a study leaves behind but where it ran: results, tables and DVC's record, whose order is that in
    which stages ran.
    """
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in (folder / "reports/runs").rglob("*.json")}
    tables = {name: (folder / name).read_bytes() for name in ("reports/tables.md", "reports/results.csv")}
    return found | tables | yaml.load((folder / "dvc.lock").read_text(), yaml.BaseLoader)["stages"]


def trained_in(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (folder / ".provenance").glob("*.json")}
