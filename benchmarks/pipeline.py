"""Time the two commands of the README: a cold `make repro` in a fresh clone, and its repetition with nothing to do.

python benchmarks/pipeline.py --folder DIR      # 10-15 minutes; DIR keeps the clone
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from record import record


def timed(command: list[str], folder: Path) -> tuple[float, str]:
    """Wall seconds and output of a command that must succeed."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return time.perf_counter() - started, done.stdout + done.stderr


def repeated(command: list[str], folder: Path) -> float:
    """Median wall seconds of five runs."""
    return statistics.median(timed(command, folder)[0] for _ in range(5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to clone to (default: a temporary folder)")
    folder = parser.parse_args().folder or Path(tempfile.mkdtemp())
    project = Path(__file__).resolve().parents[1]
    subprocess.run(["git", "clone", "-q", str(project), str(folder)], check=True)
    environment, _ = timed(["make", ".venv/ready"], folder)
    cold, output = timed(["make", "repro"], folder)
    (folder / "cold.log").write_text(output)
    _, output = timed(["make", "repro"], folder)
    assert "Running stage" not in output, "the repeat ran a stage"
    python = str(folder / ".venv/bin/python")
    rows = [
        ("environment from requirements.lock", environment, 1),
        ("cold `make repro`, whole default grid with ablations", cold, 1),
        ("`make repro` again, nothing to do", repeated(["make", "repro"], folder), 5),
        ("bare `dvc status` beside it", repeated([python, "-m", "dvc", "status", "-q"], folder), 5),
        ("start of a stage: check params.yaml", repeated([python, "-c", START.format(1)], folder), 5),
        ("start of a training: torch, data and loop imported", repeated([python, "-c", START.format(2)], folder), 5),
    ]
    stages = timed([python, "-m", "dvc", "stage", "list", "--name-only"], folder)[1].split()
    trainings = sum(name.startswith(("train", "ablate")) for name in stages)
    table = "\n".join(f"| {what} | {seconds:.1f} | {n} |" for what, seconds, n in rows)
    record(
        "Pipeline",
        f"{len(stages)} stages, {trainings} of them trainings, as many at a time as there are cores.\n\n"
        f"| what | seconds (median) | n |\n|---|---|---|\n{table}",
    )


START = """
import sys
sys.path.insert(0, "src")
from pfml.settings.load import load_params
load_params()
if {} > 1:
    import pfml.training.loop
"""

if __name__ == "__main__":
    main()
