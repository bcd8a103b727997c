"""`make verify`: are the committed numbers those that this machine computes?

A result on disk is compared with the committed one of the same run: every measure, and the digest of the network's
weights. Only runs that were trained in this clone on this processor count. What DVC restored from its cache proves
nothing, and is listed.
"""

import csv
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfml.settings import ConfigError
from pfml.settings.presets import PARAMS, with_preset
from pfml.settings.run import Run
from pfml.settings.stages import stages_of
from pfml.tracking.provenance import FOLDER, processor, trained_here

SPREAD = "glyphs-all"  # the study with several seeds of each run
WITHIN = 2  # standard deviations over seeds
EQUAL, BEYOND, CLOSE = 0, 1, 3  # exit codes


@dataclass(frozen=True)
class Check:
    """One run: "equal", "differs", "not trained here", "settings differ" or "not committed". recall: R@1, committed and
    here. spread: standard deviation of its R@1 over seeds. keys: measures that differ. kinds: of processor, committed
    and here.
    """

    run: str
    status: str
    recall: tuple[float, float] | None = None
    spread: float | None = None
    keys: tuple[str, ...] = ()
    kinds: tuple[str, str] = ("", "")

    @property
    def distance(self) -> float:
        """Difference of R@1 in standard deviations over seeds; infinite where there is no spread to compare with."""
        difference = abs(self.recall[1] - self.recall[0])
        return difference / self.spread if self.spread else float("inf") * difference if difference else 0.0


def check_runs(runs: Iterable[Run], head: str = "HEAD") -> list[Check]:
    """Compare the results on disk with those of a commit."""
    runs, spreads = list(runs), Spreads(head)
    kinds = {study: _committed_kinds(study, head) for study in {run.study for run in runs}}
    return [check_run(run, spreads, kinds[run.study].get(run.name, ""), head) for run in runs]


def _committed_kinds(study: str, head: str) -> dict[str, str]:
    """run -> kind of processor, of a study's committed provenance; empty where there is none."""
    rows = csv.DictReader(io.StringIO(_git("show", f"{head}:./{(FOLDER / study).as_posix()}.csv")))
    return {row["run"]: row["kind"] for row in rows}


def check_run(run: Run, spreads: "Spreads", committed_kind: str, head: str) -> Check:
    path = run.paths().result
    here = trained_here(run.digest)
    if here is None or not path.is_file():
        return Check(run.name, "not trained here")
    own, committed = _own(json.loads(path.read_text(encoding="utf-8")), run), _own(_committed(path, head), run)
    if own.get("digest") != run.digest or own.get("weights") != here["weights"] or processor() not in here["processor"]:
        return Check(run.name, "not trained here")
    if not committed:
        return Check(run.name, "not committed")
    if committed["digest"] != run.digest:
        return Check(run.name, "settings differ")
    keys = tuple(key for key in sorted(own.keys() | committed.keys()) if own.get(key) != committed.get(key))
    recall = (committed["recall@1"], own["recall@1"])
    kinds = committed_kind, here["kind"]
    return Check(run.name, "differs" if keys else "equal", recall, spreads.of(run), keys, kinds)


def _own(result: dict, run: Run) -> dict:
    """What a result says of one run; the result of a cross validation contains that of each fold."""
    if run.fold is None:
        return result
    start = f"fold{run.fold}_"
    return {key.removeprefix(start): value for key, value in result.items() if key.startswith(start)}


def _committed(path: Path, head: str) -> dict:
    shown = _git("show", f"{head}:./{path.as_posix()}")
    return json.loads(shown) if shown else {}


def _git(*arguments: str) -> str:
    """Output of a command of Git; empty if it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, encoding="utf-8")
    return done.stdout if done.returncode == 0 else ""


class Spreads:
    """Standard deviations of R@1 over the seeds of the committed study SPREAD."""

    def __init__(self, head: str):
        place = f"reports/runs/{SPREAD}"
        found: dict[tuple, list[float]] = {}
        for name in _git("ls-tree", "-r", "--name-only", head, "--", place).split():
            if name.endswith(".json"):
                result = _committed(Path(name), head)
                key = result["method"], result["noise"], result["axis"], result["value"]
                found.setdefault(key, []).append(result["recall@1"])
        self.by_run = {key: statistics.stdev(values) for key, values in found.items() if len(values) > 1}

    def of(self, run: Run) -> float | None:
        """That of the same method, noise and ablation point, else the median of all; None without that study."""
        own = self.by_run.get((run.method, float(run.noise), run.axis, run.value))
        return own or (statistics.median(self.by_run.values()) if self.by_run else None)


def exit_code(checks: Sequence[Check]) -> int:
    """EQUAL: every run that counts is equal, and there is one; CLOSE: all are within WITHIN; BEYOND otherwise."""
    counted = [check for check in checks if check.status in ("equal", "differs")]
    if not counted or any(check.distance > WITHIN for check in counted):
        return BEYOND
    return CLOSE if any(check.status == "differs" for check in counted) else EQUAL


def describe(checks: Sequence[Check]) -> str:
    """The verdict and what differs, for people."""
    counted = [check for check in checks if check.status in ("equal", "differs")]
    equal = [check for check in counted if check.status == "equal"]
    others = sorted({" and ".join(check.kinds) for check in counted if all(check.kinds) and len(set(check.kinds)) > 1})
    lines = [
        f"committed and here on other kinds of processors: {kinds}; equal bits are not expected" for kinds in others
    ]
    lines.append(f"{len(equal)} of {len(checks)} runs reproduced to the bit on {processor()}")
    for check in counted:
        if check.status == "differs":
            before, after = (100 * value for value in check.recall)
            spread = f"{check.distance:.1f} of its spread over seeds, {100 * check.spread:.1f}" if check.spread else ""
            what = f"R@1 {before:.2f} → {after:.2f} ({after - before:+.2f} points; {spread})"
            lines.append(f"differs  {check.run:<34} {what if before != after else ', '.join(check.keys)}")
    for status, why in REASONS.items():
        names = [check.run for check in checks if check.status == status]
        if names:
            lines.append(f"{len(names)} not verified, {why}: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}")
    return "\n".join(lines)


REASONS = {
    "not trained here": "since this clone has not trained them on this processor (they come from Git or DVC's cache; "
    "`make verify RUNS=3` trains three anew)",
    "settings differ": "since the committed result has other settings",
    "not committed": "since there is no committed result",
}


def changed_files() -> list[str]:
    """Tracked files of the pipeline that differ from the commit, but for the provenance."""
    names = _git("diff", "--name-only", "--relative", "HEAD", "--", "reports", "dvc.lock").splitlines()
    return [name for name in names if FOLDER not in Path(name).parents]


def sample(runs: Sequence[Run], count: int) -> list[Run]:
    """`count` runs, evenly spaced over a study; of a cross validation whole ones, if the study has nothing else."""
    single = [run for run in runs if run.fold is None] or list(runs)
    count = min(count, len(single))
    return [single[(2 * k + 1) * len(single) // (2 * count)] for k in range(count)]


def train_anew(runs: Sequence[Run], fields: Iterable[str], preset: str | None) -> int:
    """Train runs in a temporary clone of the commit, with an empty cache, and verify them there.

    Raises:
        ConfigError: this folder is no Git repository, or a stage failed.
    """
    with tempfile.TemporaryDirectory(prefix="pfml-verify-") as place:
        clone = Path(place, "clone")
        done = subprocess.run(["git", "clone", "-q", ".", clone], capture_output=True, text=True, encoding="utf-8")
        if done.returncode:
            raise ConfigError(f"{Path.cwd()}: expected a Git repository to clone; Git says: {done.stderr.strip()}")
        if preset:
            path = clone / PARAMS
            path.write_text(with_preset(path.read_text(encoding="utf-8"), preset), encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
        environment |= {"PYTHONPATH": "src", "MLFLOW_TRACKING_URI": f"sqlite:///{clone / 'mlflow.db'}"}
        names = [run.name for run in runs]
        print(f"trains {', '.join(names)} in a clone of {_git('rev-parse', '--short', 'HEAD').strip()}", flush=True)
        stages = [stages_of(run, fields)[1] for run in runs]
        if subprocess.run([sys.executable, "-m", "dvc", "repro", "-q", *stages], cwd=clone, env=environment).returncode:
            raise ConfigError(f"{' '.join(stages)}: failed, see above")
        command = [sys.executable, "-m", "pfml", "verify", "--only", ",".join(names)]
        return subprocess.run(command, cwd=clone, env=environment).returncode
