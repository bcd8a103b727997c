"""`pfml rerun`: make a run again at the commit that made it, in a clone of its own, and compare every measure."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pfml.launch.where import Record
from pfml.settings import ConfigError
from pfml.settings.presets import PARAMS
from pfml.settings.stages import stages_of

LAID_OVER = """
import sys
from pfml.settings.presets import with_preset
print(with_preset(sys.stdin.read(), sys.argv[1]), end="")
"""


def rerun(record: Record, here: bool) -> int:
    """Train and measure a run in a temporary clone of its commit, with an empty cache.

    Args:
        here: use the commit that is checked out, also where the run was made by another one.

    Returns:
        0 if every measure and the digest of the weights are those on record, 1 if some differ.

    Raises:
        ConfigError: the run has no result or no commit on record, the commit is not in this repository, or its code
            has other settings for the run.
    """
    commit = _commit(record, here)
    with tempfile.TemporaryDirectory(prefix="pfml-rerun-") as place:
        clone = Path(place, "clone")
        _git(Path(), "clone", "-q", "--no-checkout", str(Path.cwd()), str(clone))
        _git(clone, "checkout", "-q", commit)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
        environment |= {"PYTHONPATH": "src", "MLFLOW_TRACKING_URI": f"sqlite:///{clone / 'mlflow.db'}"}
        if record.preset:
            text = (clone / PARAMS).read_text(encoding="utf-8")
            done = subprocess.run(
                [sys.executable, "-c", LAID_OVER, record.preset], cwd=clone, env=environment, input=text, text=True,
                capture_output=True, encoding="utf-8",
            )  # fmt: skip
            if done.returncode:
                raise ConfigError(f"presets/{record.preset}.yaml at {commit[:9]}: {done.stderr.strip()[-300:]}")
            (clone / PARAMS).write_text(done.stdout, encoding="utf-8")
        print(f"trains {record.study}/{record.name} in a clone of {commit[:9]}", flush=True)
        stage = stages_of(record.run, record.fields)[1]
        if subprocess.run([sys.executable, "-m", "dvc", "repro", "-q", stage], cwd=clone, env=environment).returncode:
            raise ConfigError(f"{stage}: failed at {commit[:9]}, see above")
        again = json.loads((clone / record.run.paths().result).read_text(encoding="utf-8"))
    if record.run.fold is not None:
        start = f"fold{record.run.fold}_"
        again = {key.removeprefix(start): value for key, value in again.items() if key.startswith(start)}
    if again.get("digest") != record.digest:
        raise ConfigError(
            f"{record.name}: expected the settings with digest {record.digest} at {commit[:9]}, found {again['digest']}"
        )
    return compare(record, again)


def compare(record: Record, again: dict) -> int:
    """Print what differs between the result on record and the one made again; 1 if anything does."""
    keys = sorted((record.result.keys() | again.keys()) - {"study", "dataset_digest"})
    differ = [key for key in keys if record.result.get(key) != again.get(key)]
    for key in differ:
        print(f"differs  {key}: on record {record.result.get(key)}, again {again.get(key)}")
    if not differ:
        print(f"{record.study}/{record.name} ({record.digest}): {len(keys)} numbers and names equal")
    return int(bool(differ))


def _commit(record: Record, here: bool) -> str:
    if not record.result:
        raise ConfigError(f"{record.study}/{record.name}: no result to compare with; `make repro` makes it")
    if here:
        return _git(Path(), "rev-parse", "HEAD").strip()
    commit = record.origin.get("git_commit", "")
    if not commit or commit.endswith("-dirty"):
        found = "none" if not commit else f"{commit}: its code was not committed"
        raise ConfigError(
            f"{record.study}/{record.name}: git_commit in reports/provenance: expected a commit, found {found}; "
            "--here uses the one that is checked out"
        )
    return commit


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise ConfigError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
