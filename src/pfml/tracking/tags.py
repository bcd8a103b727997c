"""Tags by which people find and group runs in MLflow, and the experiments that runs belong to."""

import hashlib
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pfml.settings.run import Run
from pfml.tracking.provenance import MACHINE

SEED, ROW = "seed", "row"  # tag `level`: one training, or the mean over the seeds of a row of the tables


LOCK = "requirements.lock"
CODE = ("src", "stages")  # only the code counts, since the pipeline itself writes into reports/ while it runs


def git_commit() -> str:
    """The commit of the checkout, with suffix "-dirty" if src/ or stages/ differ from it; "" outside Git."""
    commit = _git("rev-parse", "HEAD")
    return "" if commit is None else commit + ("-dirty" if _git("status", "--porcelain", "--", *CODE) else "")


def uncommitted() -> str:
    """What differs from the commit in src/ and stages/, as `git diff` prints it, and the names of files that Git does
    not know; "" for a clean checkout and outside Git.
    """
    unknown = _git("ls-files", "--others", "--exclude-standard", "--", *CODE) or ""
    lines = [f"# not in Git: {name}" for name in unknown.splitlines()]
    return "\n".join(filter(None, [*lines, _git("diff", "HEAD", "--", *CODE)]))


@cache
def lock_digest(commit: str = "") -> str:
    """Of requirements.lock, the versions of all packages: 16 hexadecimal digits; "" without the file.

    Args:
        commit: that had the file; "": the file here.
    """
    if commit:
        done = subprocess.run(["git", "show", f"{commit}:{LOCK}"], capture_output=True)
        content = done.stdout if done.returncode == 0 else b""
    else:
        content = Path(LOCK).read_bytes() if Path(LOCK).is_file() else b""
    return hashlib.sha256(content).hexdigest()[:16] if content else ""


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, encoding="utf-8", errors="replace")
    return done.stdout.strip() if done.returncode == 0 else None


def experiment_name(experiment: str, study: str) -> str:
    """The experiment of MLflow for the runs of a study: pfml-glyphs. Those of `dvc exp run` have their own,
    pfml-glyphs-experiments, so that they do not stand among the rows of the study.

    Args:
        experiment: tracking.experiment of params.yaml.
    """
    return f"{experiment}-{study}{'-experiments' if os.environ.get('DVC_EXP_NAME') else ''}"


def row_of(run: Run) -> str:
    """What the seeds of a row of the tables share: dataset/backbone/dimension/method/noise, with /alpha=4.0 for a point
    of an ablation and /folds for a cross validation.
    """
    last = [f"{run.axis}={run.value}"] if run.axis else [] if run.fold is None else ["folds"]
    return "/".join([run.dataset, run.backbone, str(run.dim), run.method, str(run.noise), *last])


def paper_table(run: Run) -> str:
    """The table or figure of the paper that a run reproduces."""
    if run.axis:
        return {"proxies_per_class": "Figure 3a", "delta": "Figure 3b", "alpha": "Figure 3c"}.get(run.axis, "Figure 3d")
    if run.fold is not None:
        return "Table 6" if run.dataset == "cub200" else "Table 7"
    return "Table 2" if run.noise else "Table 1"


def tags_of(run: Run, dataset_digest: str, origin: Mapping[str, str]) -> dict[str, str]:
    """Tags to find and group MLflow runs by: code, stage, experiment, data, configuration, place in the paper, machine.

    Args:
        origin: columns of pfml.tracking.provenance.
    """
    commit, stage = git_commit(), os.environ.get("DVC_STAGE", "")
    return {
        "mlflow.source.git.commit": commit.removesuffix("-dirty"), "mlflow.source.name": stage or "stages/train.py",
        "git_commit": commit, "dvc_stage": stage,
        "dvc_exp": os.environ.get("DVC_EXP_NAME") or "workspace", "dataset": run.dataset,
        "dataset_digest": dataset_digest, "config_digest": run.digest, "study": run.study, "method": run.method,
        "noise": str(run.noise), "seed": str(run.seed), "ablation": run.axis, "paper_table": paper_table(run),
        "fold": "" if run.fold is None else str(run.fold), "row": row_of(run), "level": SEED,
    } | {name: origin.get(name) or "" for name in MACHINE}  # fmt: skip
