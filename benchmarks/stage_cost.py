"""Measure DVC's overhead in a large study: CPU seconds of one `evaluate` stage beside 225 trainings (glyphs-all).

    python benchmarks/stage_cost.py . /path/to/another/checkout

Each checkout is cloned into a temporary folder with the preset glyphs-all. One training of one step is run there by
DVC, and evaluated. The other trainings and evaluations get copies of these outputs, and dvc.lock their entries, since
what costs is the length of that file. Then the evaluate stage of the real training is run by `dvc repro --single-item`,
and once more by its command alone; the difference is DVC's own.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON = sys.executable
NAME = "glyphs-pfml-0.0-0"
PRESET = (
    "try:\n from pfml.settings.presets import with_preset\nexcept ImportError:\n from pfml.presets import with_preset\n"
    "from pathlib import Path; path = Path('params.yaml'); path.write_text(with_preset(path.read_text(), 'glyphs-all'))"
)
FILL = """
import shutil, sys
from pathlib import Path
from dvc.repo import Repo
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils.serialize import dump_yaml, load_yaml

repo, model, result, count = Repo(), Path(sys.argv[1]), Path(sys.argv[2]), 0
lock = load_yaml("dvc.lock")
for stage in repo.index.stages:
    if not stage.name.startswith(("train", "ablate", "evaluate")):
        continue
    count += not stage.name.startswith("evaluate")
    for out in [Path(out.fs_path) for out in stage.outs]:
        out.parent.mkdir(parents=True, exist_ok=True)
        if not out.exists() and out.suffix in (".json", ".csv"):
            shutil.copy(result.with_suffix(out.suffix), out)
        elif not out.exists():
            shutil.copytree(model, out)
    stage.save(allow_missing=True, run_cache=False)
    lock["stages"][stage.name] = to_single_stage_lockfile(stage)
dump_yaml("dvc.lock", lock)
print(count)
"""


def main() -> None:
    rows = [measured(Path(place).resolve()) for place in sys.argv[1:] or ["."]]
    print("| checkout | trainings | dvc.lock, lines | CPU s of the stage by DVC | of its command alone | DVC's own |")
    print("|---|---:|---:|---:|---:|---:|")
    for commit, count, lines, whole, alone in rows:
        print(f"| {commit} | {count} | {lines:,} | {whole:.1f} | {alone:.1f} | {whole - alone:.1f} |")
    first, *_, last = rows
    print(f"\nDVC's own, {first[0]} over {last[0]}: {(first[3] - first[4]) / (last[3] - last[4]):.2f}")


def measured(checkout: Path) -> tuple[str, int, int, float, float]:
    """Commit, number of trainings, lines of dvc.lock, CPU seconds of the evaluate stage by DVC and by its command."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "clone")
        run(["git", "clone", "-q", checkout, folder], Path(place))
        commit = run(["git", "rev-parse", "--short", "HEAD"], folder).strip()
        run([PYTHON, "-c", PRESET], folder)
        params = folder / "params.yaml"
        text = params.read_text()
        text = text.replace("\n  epochs: 12\n", "\n  epochs: 1\n").replace(
            "steps_per_epoch: 40 ", "steps_per_epoch: 1 "
        )
        params.write_text(text)
        (folder / "dvc.lock").unlink()
        stages = run([*DVC, "stage", "list", "--name-only"], folder).split()
        data = [name for name in stages if name.split("@")[0] in ("check", "plan", "fetch", "split", "noise")]
        run([*DVC, "repro", "-q", *data], folder)
        run([*DVC, "repro", "-q", "-s", f"train@{NAME}"], folder)
        run([*DVC, "repro", "-q", "-s", f"evaluate@{NAME}"], folder)
        model, result = f"models/grid/glyphs/{NAME.removeprefix('glyphs-')}", f"reports/runs/glyphs-all/{NAME}.json"
        count = int(run([PYTHON, "-c", FILL, model, result], folder).split()[-1])
        lines = len((folder / "dvc.lock").read_text().splitlines())
        whole = min(cpu([*DVC, "repro", "-q", "-f", "-s", f"evaluate@{NAME}"], folder) for _ in range(3))
        alone = min(cpu([PYTHON, "stages/evaluate.py", NAME], folder) for _ in range(3))
        assert json.loads((folder / f"reports/runs/glyphs-all/{NAME}.json").read_text())["epochs"] == 1
        return commit, count, lines, whole, alone


DVC = (PYTHON, "-m", "dvc")


def cpu(command, folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(command, folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(command, folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    environment |= {"PYTHONPATH": "src", "OMP_NUM_THREADS": "1", "PATH": f"{Path(PYTHON).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
