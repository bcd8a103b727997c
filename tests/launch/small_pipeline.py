"""A pipeline of trivial stages under the names that the launcher knows: real DVC, seconds instead of minutes.

Every stage joins its dependencies into its outputs, and fails where one is missing, as real ones do. Each reads a file
of its own in source/, so that one stage alone can be made stale, and adds its name to ran.txt.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from pfml.launch import pipeline as launch
from pfml.launch.__main__ import main
from tests.conftest import ROOT

RUNS = ("a", "b", "c")


def stage(name: str, outs: list[str], deps: tuple = (), cached: bool = True) -> dict:
    deps = [f"source/{name}", *deps]
    steps = [f"test -s {dep}/run.json" if dep.startswith("models/small/") else f"test -e {dep}" for dep in deps]
    steps += [f"mkdir -p {os.path.dirname(out)} && cat $(find {' '.join(deps)} -type f | sort) > {out}" for out in outs]
    folders = [os.path.dirname(out) if out.startswith("models/") else out for out in outs]  # a training makes a folder
    return {
        "cmd": " && ".join([*steps, f"echo {name} >> ran.txt"]),
        "deps": deps,
        "outs": [{out: {"cache": cached}} for out in dict.fromkeys(folders)],
    }


def stages() -> dict:
    """The stages of dvc.yaml; names are groups of the launcher, with a run at the end."""
    found, before = {}, ()
    for name in launch.DATA:
        found[name] = stage(name, [f"data/{name}"], before)
        before = (f"data/{name}",)
    found["theory"] = stage("theory", ["reports/theory.csv"], (f"data/{launch.DATA[0]}",), cached=False)
    for run in RUNS:
        kind = "train_baseline" if run == "c" else "train"
        model = f"models/small/{run}"
        found[f"{kind}_{run}"] = stage(f"{kind}_{run}", [f"{model}/run.json", f"{model}/more.bin"], before)
        name = kind.replace("train", "evaluate") + f"_{run}"
        found[name] = stage(name, [f"reports/runs/${{study}}/{run}.json"], (model,), cached=False)
    read = ("reports/runs", "reports/theory.csv")
    found["report"] = stage("report", ["reports/tables.md", "reports/results.csv"], read, cached=False)
    found["figures"] = stage("figures", ["reports/figures/training.png"], ("reports/runs",), cached=False)
    found["register"] = stage("register", [], ("reports/runs",))
    found["page"] = stage("page", [], ("reports/tables.md",))
    found["page"]["cmd"] += " && echo page > reports/index.html"
    return found


def build(folder: Path) -> Path:
    """The pipeline in `folder`, a Git repository, run once by plain DVC and committed."""
    (folder / "source").mkdir(parents=True)
    for name in stages():
        (folder / "source" / name).write_text(f"{name}\n")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages()}, sort_keys=False))
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc")
    (folder / ".gitignore").write_text("/data/\n/models/\n/ran.txt\n/.studies/\n/reports/index.html\n")
    git(folder, "init", "-q")
    plain(folder)
    assert sorted(ran(folder)) == sorted(stages())
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "results")
    return folder


def git(folder: Path, *command: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *command], cwd=folder, check=True)


def plain(folder: Path) -> None:
    subprocess.run([*launch.DVC, "repro", "--quiet"], cwd=folder, check=True)


def ran(folder: Path) -> list[str]:
    """Names of the stages whose command has run since the last call."""
    path = folder / "ran.txt"
    names = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return names


def make_repro(folder: Path, monkeypatch, *options: str) -> int:
    """The launcher in this process, in `folder`, with DVC in processes of their own; returns its exit code."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["make repro", "-j2", *options])
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return main()
    finally:
        signal.signal(signal.SIGTERM, handler)


def state(folder: Path) -> dict:
    """Every output and, parsed, what DVC noted; stages stand in dvc.lock in the order in which they ran. The launcher's
    .gitkeep in folders that the report reads is no output, and neither is the page.
    """
    outputs = {
        str(path.relative_to(folder)): path.read_bytes()
        for place in ("data", "models", "reports")
        for path in (folder / place).rglob("*")
        if path.is_file() and path.name not in (".gitkeep", "index.html")
    }
    return outputs | {"dvc.lock": yaml.safe_load((folder / "dvc.lock").read_text())}


def harm(folder: Path, seed: int) -> list[str]:
    """Delete, damage or outdate one to six things, by seed; what was done, in words."""
    draw, done = random.Random(seed), []
    kinds = (
        "output deleted",
        "output emptied",
        "output changed",
        "folder deleted",
        "source changed",
        "stage forgotten",
    )
    for kind in draw.choices(kinds, k=draw.randint(1, 6)):
        place = draw.choice(("data", "models", "models", "models", "reports"))  # oftener where one alone was fatal
        outputs = sorted(path for path in (folder / place).rglob("*") if path.is_file())
        if not outputs:
            continue
        path = draw.choice(outputs)
        name = draw.choice(sorted(stages()))
        if kind == "source changed":
            path = folder / "source" / name
            path.write_text(path.read_text() + "changed\n")
        elif kind == "stage forgotten":
            lock = yaml.safe_load((folder / "dvc.lock").read_text())
            lock["stages"].pop(name, None)
            path = folder / "dvc.lock"
            path.write_text(yaml.safe_dump(lock, sort_keys=False))
        elif kind == "folder deleted":
            path = path.parent
            shutil.rmtree(path)
        elif kind == "output deleted":
            path.unlink()
        else:
            path.write_bytes(b"" if kind == "output emptied" else path.read_bytes() + b"x")
        done.append(f"{kind}: {name if kind.startswith('s') else path.relative_to(folder)}")
    return done
