"""CPU seconds that a pipeline costs beyond its trainings: the default study with two steps a run, of 31 runs and with
seven seeds of 217, by `make repro` and by `pfml grid` on a Ray cluster of this machine, beside another commit.

    python benchmarks/overhead.py [--seeds 1 7] [--beside b7e8385] [--folder DIR]     # 80 minutes on two cores

CPU seconds are those of all processes that a command starts, from the kernel's accounts, Ray's daemons included.
"""

import argparse
import ctypes
import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import yaml
from record import record

PROJECT = Path(__file__).resolve().parents[1]
TINY = {"epochs": 1, "steps_per_epoch": 2, "eval_every": 1}
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def prepared(folder: Path, commit: str, seeds: int) -> Path:
    """A clone of a commit whose default study has so many seeds, and two steps a run."""
    subprocess.run(["git", "clone", "-q", str(PROJECT), str(folder)], check=True)
    subprocess.run(["git", "checkout", "-q", commit], cwd=folder, check=True)
    params = folder / "params.yaml"
    raw = yaml.safe_load(params.read_text())
    raw["train"] |= TINY
    raw["grid"]["seed"] = list(range(seeds))
    params.write_text(yaml.safe_dump(raw, sort_keys=False))
    subprocess.run(["git", "commit", "-qam", "two steps a run"], cwd=folder, check=True)
    subprocess.run(["make", ".venv/ready"], cwd=folder, check=True, capture_output=True)
    return folder


def measured(folder: Path, command: list[str], **variables: str) -> tuple[int, float, float]:
    """Runs, CPU seconds of the command, and seconds that the trainings themselves took, summed."""
    before = cpu()
    with (folder.with_suffix(".log")).open("w") as log:
        clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MAKEFLAGS")}
        subprocess.run(command, cwd=folder, env=clean | variables, stdout=log, stderr=log, check=True)
    reap()
    spent = cpu() - before
    # Where a run was trained is beside its model in earlier commits.
    runs = list(folder.glob(".provenance/*.json")) or list(folder.glob("models/**/run.json"))
    return len(runs), spent, sum(float(json.loads(path.read_text())["seconds"]) for path in runs)


def adopt_orphans() -> None:
    """Make processes whose parents have died children of this one, which then gets their accounts."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap(patience: float = 120.0) -> None:
    """Wait for all children, Ray's daemons among them.

    Raises:
        RuntimeError: some are there after `patience` seconds, so that their accounts would be missing.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.1)
        except ChildProcessError:
            return
    raise RuntimeError(f"processes of the command are at work {patience:.0f} s after its end")


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 7])
    parser.add_argument("--beside", metavar="COMMIT", help="an earlier commit, whose `make repro` is measured too")
    parser.add_argument("--folder", type=Path, help="where to clone to (default: a temporary folder)")
    given = parser.parse_args()
    adopt_orphans()
    place, rows = given.folder or Path(tempfile.mkdtemp()), []
    for seeds in given.seeds:
        kinds = {"make repro": ("HEAD", ["make", "repro"])}
        kinds["pfml grid --on ray"] = ("HEAD", [".venv/bin/pfml", "grid", "--on", "ray"])
        if given.beside:
            kinds[f"make repro of {given.beside}"] = (given.beside, ["make", "repro"])
        for name, (commit, command) in kinds.items():
            folder = prepared(place / f"{len(rows)}", commit, seeds)
            if "ray" in command:
                subprocess.run(["make", "engines"], cwd=folder, check=True, capture_output=True)
                dvc = [".venv/bin/dvc", "remote", "add", "--default", "--local", "store", str(place / f"store-{seeds}")]
                subprocess.run(dvc, cwd=folder, check=True)
            runs, spent, own = measured(folder, command, PFML_NODE_DIR=str(place / f"node-{seeds}"))
            rows.append(f"| {name} | {runs} | {spent:.0f} | {own:.0f} | {(spent - own) / runs:.1f} |")
            print(rows[-1], flush=True)
            keep(rows)


def keep(rows: list[str]) -> None:
    record(
        "Beyond the trainings",
        f"The default study with two steps a run, cold, {os.cpu_count()} at a time; n 1 each. CPU seconds are those of "
        "all processes. What trainings themselves take is taken off: their seconds from the first step to the last "
        "measurement. Imports, DVC, evaluation, theory, figures and the report remain.\n\n"
        "| command | runs | CPU s | trainings' own s | CPU s beyond, a run |\n"
        "|---|---:|---:|---:|---:|\n" + "\n".join(rows),
    )


if __name__ == "__main__":
    main()
