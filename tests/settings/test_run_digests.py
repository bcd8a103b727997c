"""The digests of every run of every study, against those under which the committed results are filed.

run_digests.csv has a line for each study, kind of run and method: how many there are, and the SHA-256 of their lines
"<name> <digest>". A line that differs means that committed results no longer belong to their runs. Only a change that
makes all studies again may renew the file: python -m tests.settings.test_run_digests. A new method needs no line.
"""

import csv
import hashlib
from dataclasses import replace
from pathlib import Path

from pfml.losses import LOSSES
from pfml.settings.load import load_params
from pfml.settings.presets import every_params
from pfml.settings.run import Run
from pfml.settings.runs import ablation_runs, fold_runs, grid_runs, timing_runs
from tests.conftest import ROOT

FILE = Path(__file__).with_name("run_digests.csv")
KINDS = {"grid": grid_runs, "ablation": ablation_runs, "fold": fold_runs, "timing": timing_runs}


def digests() -> dict[tuple[str, str, str], tuple[int, str]]:
    """(study, kind, method) -> (number of runs, SHA-256 of their names and digests)."""
    found = {}
    for params in every_params(load_params()):
        for kind, runs_of in KINDS.items():
            lines = {}
            for run in runs_of(params):
                lines.setdefault(run.method, []).append(f"{run.name} {run.digest}\n")
            for method, theirs in lines.items():
                found[params.study, kind, method] = len(theirs), hashlib.sha256("".join(theirs).encode()).hexdigest()
    return found


def test_another_kind_of_processor_is_another_digest(monkeypatch):
    monkeypatch.chdir(ROOT)
    params = load_params()
    run = grid_runs(params)[0]
    assert run.train["portable"] and run.config["train"]["portable"]
    assert replace(run, train=dict(run.train) | {"portable": False}).digest != run.digest


def test_a_formula_that_changed_is_another_digest(monkeypatch):
    """`version` on the loss: results of the earlier formula are not taken for those of this one."""
    monkeypatch.chdir(ROOT)
    run = grid_runs(load_params())[0]
    assert "loss_version" not in run.config, "versions are not shown before the first change"
    newer = replace(run, loss_version=2)
    assert newer.config["loss_version"] == 2 and newer.digest != run.digest
    assert Run.from_json(newer.as_json(), newer.study).loss_version == 2
    versions = {name: LOSSES[name].version for name in LOSSES}
    assert {name for name, version in versions.items() if version > 1} == {
        "margin",
        "margin_per_class",
        "lifted_structure",
    }


def test_no_run_has_another_digest(monkeypatch):
    monkeypatch.chdir(ROOT)
    with FILE.open(newline="") as file:
        expected = {
            (row["study"], row["kind"], row["method"]): (int(row["runs"]), row["sha256"])
            for row in csv.DictReader(file)
        }
    found = digests()
    assert sum(count for count, _ in expected.values()) > 2000
    moved = sorted(key for key in expected if found.get(key) != expected[key])
    assert not moved, f"names or digests of runs changed: {moved}"


if __name__ == "__main__":
    with FILE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["study", "kind", "method", "runs", "sha256"])
        writer.writerows([*key, *value] for key, value in digests().items())
