"""CPU seconds of a cold `make repro` in two checkouts of this project, one after the other on one machine.

    python benchmarks/cost.py HEAD b7e8385 --folder DIR      # DIR keeps the clones; half an hour on two cores

Each commit is cloned and gets its own environment, which is not counted. CPU seconds are those of all processes of
`make repro`, from the kernel's accounts of children that have ended.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import record

PROJECT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs=2, help="the one to judge, and an earlier one")
    parser.add_argument("--folder", type=Path, help="where to clone to (default: a temporary folder)")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    rows = [measured(commit, folder) for commit in given.commits]
    for row in rows:
        print(*row, flush=True)
    record("Cost of the default study", table(rows))


def measured(commit: str, folder: Path) -> tuple[str, int, float, float]:
    """Commit, trainings, CPU seconds and wall seconds of a cold `make repro`."""
    name = subprocess.run(
        ["git", "rev-parse", "--short", commit], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout.strip()
    clone = folder / name
    run(["git", "clone", "-q", str(PROJECT), str(clone)], PROJECT)
    run(["git", "checkout", "-q", name], clone)
    run(["make", ".venv/ready"], clone)
    before, started = cpu(), time.perf_counter()
    run(["make", "repro"], clone)
    spent, wall = cpu() - before, time.perf_counter() - started
    stages = run([str(clone / ".venv/bin/python"), "-m", "dvc", "stage", "list", "--name-only"], clone).split()
    return name, sum(stage.startswith(("train", "ablate")) for stage in stages), spent, wall


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command: list[str], folder: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MAKEFLAGS")}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed in {folder}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def table(rows: list[tuple[str, int, float, float]]) -> str:
    (_, _, after, _), (_, _, before, _) = rows
    lines = ["| commit | trainings | CPU s | wall s |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {name} | {trainings} | {spent:.0f} | {wall:.0f} |" for name, trainings, spent, wall in rows]
    said = f"A cold `make repro` of the study takes {after / before:.2f} of the CPU seconds, without its environment."
    return "\n".join([said, "", *lines, "", "n = 1 each, one after the other."])


if __name__ == "__main__":
    main()
