"""A study of four runs, how `pfml grid` is called on it, and what it leaves."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import yaml

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


def results(folder: Path) -> dict:
    """Everything that a study leaves behind but where it ran: results, tables and DVC's record, whose order is that in
    which stages ran.
    """
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in (folder / "reports/runs").rglob("*.json")}
    tables = {name: (folder / name).read_bytes() for name in ("reports/tables.md", "reports/results.csv")}
    return found | tables | yaml.load((folder / "dvc.lock").read_text(), yaml.BaseLoader)["stages"]


def trained_in(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (folder / ".provenance").glob("*.json")}
