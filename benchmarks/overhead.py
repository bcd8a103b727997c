"""Time what a pipeline costs beyond its trainings: the default study with two steps a run, 31 runs and with eight seeds
248, by `make repro` and by `pfml grid` on a Ray cluster of this machine, beside another commit.

    python benchmarks/overhead.py [--seeds 1 8] [--beside b7e8385] [--folder DIR]     # an hour on two idle cores
"""

import argparse
import csv
import os
import subprocess
import tempfile
import time
from pathlib import Path

import yaml
from record import record

PROJECT = Path(__file__).resolve().parents[1]
TINY = {"epochs": 1, "steps_per_epoch": 2, "eval_every": 1}


def prepared(folder: Path, commit: str, seeds: int) -> Path:
    """A clone of a commit whose default study has so many seeds, and two steps a run."""
    subprocess.run(["git", "clone", "-q", str(PROJECT), str(folder)], check=True)
    subprocess.run(["git", "checkout", "-q", commit], cwd=folder, check=True)
    params = folder / "params.yaml"
    raw = yaml.safe_load(params.read_text())
    raw["train"] |= TINY
    raw["grid"]["seed"] = list(range(seeds))
    raw["tracking"]["enabled"] = False
    params.write_text(yaml.safe_dump(raw, sort_keys=False))
    subprocess.run(["git", "commit", "-qam", "two steps a run"], cwd=folder, check=True)
    subprocess.run(["make", ".venv/ready"], cwd=folder, check=True, capture_output=True)
    return folder


def measured(folder: Path, command: list[str], **variables: str) -> tuple[int, float, float]:
    """Runs, wall seconds of the command, and seconds that the trainings themselves took, summed."""
    started = time.perf_counter()
    with (folder.with_suffix(".log")).open("w") as log:
        subprocess.run(command, cwd=folder, env=os.environ | variables, stdout=log, stderr=log, check=True)
    wall = time.perf_counter() - started
    [origins] = (folder / "reports/provenance").glob("glyphs.csv")
    with origins.open(newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return len(seconds), wall, sum(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--beside", metavar="COMMIT", help="an earlier commit, whose `make repro` is timed too")
    parser.add_argument("--folder", type=Path, help="where to clone to (default: a temporary folder)")
    given = parser.parse_args()
    place = given.folder or Path(tempfile.mkdtemp())
    cores, rows = os.cpu_count(), []
    for seeds in given.seeds:
        kinds = {"make repro": ("HEAD", ["make", "repro"])}
        if given.beside:
            kinds[f"make repro of {given.beside}"] = (given.beside, ["make", "repro"])
        kinds["pfml grid --on ray"] = ("HEAD", [".venv/bin/pfml", "grid", "--on", "ray"])
        for name, (commit, command) in kinds.items():
            folder = prepared(place / f"{len(rows)}", commit, seeds)
            if "ray" in command:
                subprocess.run(["make", "engines"], cwd=folder, check=True, capture_output=True)
                dvc = [".venv/bin/dvc", "remote", "add", "--default", "--local", "store", str(place / f"store-{seeds}")]
                subprocess.run(dvc, cwd=folder, check=True)
            runs, wall, own = measured(folder, command, PFML_NODE_DIR=str(place / f"node-{seeds}"))
            rows.append(f"| {name} | {runs} | {wall:.0f} | {own:.0f} | {(wall * cores - own) / runs:.1f} |")
            print(rows[-1], flush=True)
    record(
        "Beyond the trainings",
        f"The default study with two steps a run, cold, {cores} at a time; n 1 each. Core seconds beyond the trainings'"
        " own are wall seconds times cores, less what trainings report, by run; theory, evaluation, figures and the "
        "report are among them.\n\n"
        "| command | runs | wall s | trainings' own s | core s beyond, a run |\n|---|---:|---:|---:|---:|\n"
        + "\n".join(rows),
    )


if __name__ == "__main__":
    main()
