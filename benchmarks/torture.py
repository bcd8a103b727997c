"""`make torture`: damage a pipeline on purpose, and see whether `make repro` ends as if nothing had happened.

    python benchmarks/torture.py                 # seeds 0-199, those that benchmarks/torture.csv does not have yet
    python benchmarks/torture.py --seeds 20 25   # seeds 20-24, also if they have run; a second series may run beside it
    python benchmarks/torture.py --record        # write the section of reports/benchmarks.md and run nothing

A trial is decided by its seed: a copy of a finished tiny study (two trainings) in which some outputs are missing, one
kind of damage (torture_kinds.py), and `make repro` until it succeeds, three times at most. It survives if then every
output and dvc.lock are those of the undisturbed study, to the bit, and each call that failed said why in a line without
a traceback. A trial takes about a minute; an interrupted series goes on at its first missing seed.
"""

import argparse
import csv
import hashlib
import io
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import yaml
from filelock import FileLock

from pfml.settings.files import write_whole

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from record import record  # noqa: E402
from torture_kinds import EPOCHS, KINDS, Trial  # noqa: E402

from tests.pipeline.clones import clone, commit, sh  # noqa: E402

LOG = Path(__file__).with_suffix(".csv")
COLUMNS = ("seed", "kind", "what", "calls", "survived", "why", "seconds")
TRIALS, ATTEMPTS = 200, 3
STUDY = {  # of tests/pipeline/clones.py, smaller still
    "grid": {"noise": [0.2]}, "train": {"epochs": EPOCHS, "steps_per_epoch": 4, "eval_every": 1},
    "ablation": {"points": []}, "tune": {"method": []},
}  # fmt: skip
MISSING = (  # what a trial has to make again: nothing, a training, all trainings, all but the data, everything
    (), ("models/grid/glyphs/pfml-0.2-0",), ("models", ".dvc/cache/runs"), ("models", "reports/runs", ".dvc/cache"),
    ("data", "models", ".dvc/cache", ".dvc/tmp", "reports/runs"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs=2, type=int, metavar=("FIRST", "END"))
    parser.add_argument("--kind", choices=KINDS, help="this kind alone")
    parser.add_argument("--work", type=Path, help="folder of the study and the trials (default: a temporary one)")
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    if not given.record:
        done = {int(row["seed"]) for row in rows()}
        seeds = range(*given.seeds) if given.seeds else [seed for seed in range(TRIALS) if seed not in done]
        with tempfile.TemporaryDirectory(prefix="pfml-torture-") as temporary:
            work = given.work or Path(temporary)
            template, expected = undisturbed(work)
            for seed in seeds:
                if given.kind in (None, kind_of(seed)):
                    keep(trial(seed, template, expected, work / f"trial-{seed}"))
    record("Torture", table(rows()))


def kind_of(seed: int) -> str:
    return list(KINDS)[seed % len(KINDS)]


def undisturbed(work: Path) -> tuple[Path, dict]:
    """The finished study, made once, and its outputs."""
    template, memory = work / "study", work / "expected.json"
    if not memory.exists():
        shutil.rmtree(template, ignore_errors=True)
        template.mkdir(parents=True)
        clone(template, **STUDY)
        sh(template, sys.executable, "-m", "pfml.launch", "-j1")
        commit(template, "results")
        memory.write_text(json.dumps(state(template)))
    return template, json.loads(memory.read_text())


def trial(seed: int, template: Path, expected: dict, place: Path) -> dict:
    """Run one trial; its row of the log."""
    started, draw, kind = time.perf_counter(), random.Random(seed), kind_of(seed)
    one = Trial(template, place, draw, draw.choice(MISSING[1:] if kind in ("kill", "full disk") else MISSING))
    why, codes = "", []
    with KINDS[kind](one) as repro:
        while len(codes) < ATTEMPTS and 0 not in codes:
            code, said = repro()
            codes.append(code)
            why = why or (unexplained(said) if code else "")
        found = state(place)
        lacking = "" if code else one.missing_in_mlflow()
    if code:
        why = why or f"fails each time: {last_line(said)}"
    elif found != expected:
        differing = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        why = f"{len(differing)} outputs differ: {', '.join(differing[:3])}"
    why = why or lacking
    if not why:
        shutil.rmtree(place)
    row = dict(zip(COLUMNS, (seed, kind, "; ".join(one.done), len(codes), "no" if why else "yes", why,
                             round(time.perf_counter() - started))))  # fmt: skip
    print(*row.values(), sep="  ", flush=True)
    return row


def state(folder: Path) -> dict[str, str]:
    """SHA-256 of every output, and dvc.lock as DVC reads it. Provenance and page differ between equal runs."""
    outside = ("reports/provenance", "reports/index.html")
    found = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for place in ("data", "models", "reports")
        for path in sorted((folder / place).rglob("*"))
        if path.is_file() and path.name not in (".gitkeep", ".gitignore")
        if not (name := path.relative_to(folder).as_posix()).startswith(outside)
    }
    lock = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    return found | {f"dvc.lock {name}": json.dumps(stage, sort_keys=True) for name, stage in lock.items()}


def unexplained(said: str) -> str:
    """What is wrong with the words of a call that failed: a traceback, or no words."""
    if "Traceback" in said:
        return f"a traceback: {last_line(said)}"
    return "" if any(word in said for word in ("error:", "ERROR:", "interrupted")) else "fails without a word"


def last_line(said: str) -> str:
    return (said.strip().splitlines() or ["nothing said"])[-1][:200]


def rows() -> list[dict]:
    if not LOG.exists():
        return []
    with LOG.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def keep(row: dict) -> None:
    """Add a row to the log, in place of an older one of its seed; several series may run at once."""
    with FileLock(LOG.with_suffix(".lock")):
        others = [other for other in rows() if int(other["seed"]) != row["seed"]]
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted([*others, row], key=lambda row: int(row["seed"])))
        write_whole(LOG, table.getvalue())


def table(found: list[dict]) -> str:
    """How many trials of each kind survived."""
    lines = ["| kind | trials | survived |", "| --- | ---: | ---: |"]
    for kind in KINDS:
        own = [row for row in found if row["kind"] == kind]
        lines.append(f"| {kind} | {len(own)} | {sum(row['survived'] == 'yes' for row in own)} |")
    lines.append(f"| all | {len(found)} | {sum(row['survived'] == 'yes' for row in found)} |")
    what = (
        "A trial damages a finished study of two trainings and calls `make repro` until it succeeds, three times at "
        "most. It survives if every output is that of the undisturbed study, to the bit, and every failure named its "
        "cause. benchmarks/torture.csv has each trial."
    )
    return "\n".join([*lines, "", what])


if __name__ == "__main__":
    main()
