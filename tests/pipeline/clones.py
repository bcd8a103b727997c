"""The project in a temporary clone with a tiny study, and commands run there."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.conftest import ROOT, merge

STUDY = {
    "study": "tiny",
    "grid": {"field": ["pfml"], "baseline": ["contrastive"], "noise": [0.0, 0.2], "seed": [0]},
    "train": {"epochs": 2, "steps_per_epoch": 3, "batch": 40, "eval_every": 2},
    "loss": {"proxies_per_class": 2},
    "evaluate": {"nmi": False},
    "ablation": {"points": ["alpha-1", "delta_gap-0.1"]},
    "complexity": {"proxies_per_class": [2], "baseline": ["proxy_nca"], "steps": 2, "rounds": 1},
    "tune": {
        "method": ["contrastive"],
        "trials": 2,
        "noise": [0.2],
        "space": [{"method": ["contrastive"], "loss": {"neg_margin": {"low": 0.2, "high": 0.8, "start": 0.5}}}],
    },
    "theory": {"sets": 1, "trials": 2, "changes": [], "radii": [0.5], "alphas": [3.0]},
}
ENVIRONMENT = {
    key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_TRACKING", "GIT_", "PYTHON"))
} | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": "src",
    "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "true", "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t",
    "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
}  # fmt: skip
REPRO = (sys.executable, "-m", "pfml.launch", "-j2")


def sh(folder, *command, code=0):
    found = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert found.returncode == code, f"{command}: {found.returncode}\n{found.stdout[-3000:]}\n{found.stderr[-3000:]}"
    return found.stdout + found.stderr


def clone(folder, **changes):
    """The working tree as a repository of its own with the tiny study; no results, nothing cached."""
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, files):
        if not name.startswith(("reports/", "dvc.lock")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    params = folder / "params.yaml"
    params.write_text(yaml.safe_dump(merge(merge(yaml.safe_load(params.read_text()), STUDY), changes), sort_keys=False))
    sh(folder, "git", "init", "-q")
    commit(folder, "start")
    return folder


def commit(folder, message):
    sh(folder, "git", "add", "-A")
    sh(folder, "git", "commit", "-qm", message)


def ran(output):
    """Names of the stages whose command was executed."""
    return {name.split("@")[0] for name in re.findall(r"Running stage '([^']+)'", output)}


def results(folder):
    """What the tables show, without what differs between two runs of the same thing."""
    rows = csv.DictReader((folder / "reports/results.csv").open())
    return list(rows)


def mlflow_runs(folder, experiment="pfml-tiny"):
    """(status, digest, alpha, whether it has final measures) of every training that MLflow has in an experiment."""
    code = (
        "from pfml.tracking.mlflow import open_store; from pfml.tracking.register import all_runs; import json\n"
        f"c, e = open_store('{experiment}')\n"
        "print('RUNS' + json.dumps([(r.info.status, r.data.tags['config_digest'], r.data.params.get('loss.alpha'),"
        "'final/recall_at_1' in r.data.metrics) for r in all_runs(c, e)]))"
    )
    return json.loads(sh(folder, sys.executable, "-c", code).split("RUNS")[1])
