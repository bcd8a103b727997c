"""One task on a node, in the driver's tree:

    python -m pfml.launch.engines.node <remote|shared> train <stage> <digest>
    python -m pfml.launch.engines.node <remote|shared> trial <method> <settings> <file>

DVC takes the data from its remote or from the shared cache, once a node, and a run itself where another node has
finished it. What is trained here goes to the remote with its entry of the run cache, so that the driver need not train
it. A trial leaves its scores in a file, which goes back to the driver by itself.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import yaml

from pfml.launch.dvc import DATA, WATCHED, stage_group
from pfml.launch.locks import LOCK, await_stage

DVC = (*WATCHED, "--wait-for-lock")
RECORDS = "provenance"  # folder of the remote or cache
BROUGHT = Path(".brought")  # is there once the data are


def arguments(remote: bool, what: str, *others: str) -> tuple[str, ...]:
    """Of a Python process that does this on a node.

    Args:
        remote: data and results go through a DVC remote; otherwise all nodes see the driver's cache.
    """
    return "-m", "pfml.launch.engines.node", "remote" if remote else "shared", what, *others


def main(way: str, what: str, *arguments: str) -> int:
    end_with_parent()
    return {"train": train, "trial": trial}[what](way == "remote", *arguments)


def bring_data(remote: bool) -> int:
    """Take the data once, whichever task comes first; returns DVC's exit code."""
    from filelock import FileLock

    with FileLock(f"{BROUGHT}.lock"):
        if BROUGHT.exists():
            return 0
        # By force: half of a file, left by an attempt that found no room, is no work of anybody.
        bring = "pull" if remote else "checkout"
        code = subprocess.call([*DVC, bring, "--force", *data_stages()])
        if not code:
            BROUGHT.touch()
    return code


def trial(remote: bool, method: str, settings: str, file: str) -> int:
    if code := bring_data(remote):
        return code
    sys.argv = ["stages/tune.py", method, settings, file]
    runpy.run_path(sys.argv[0], run_name="__main__")  # in this process, which ends with its parent
    return 0


def train(remote: bool, stage: str, digest: str) -> int:
    await_stage(stage)
    code = bring_data(remote) or subprocess.call([*DVC, "repro", *["--pull"] * remote, "--single-item", stage])
    if not code:
        share_record(Path(".provenance", f"{digest}.json"), remote)
    if remote and not code:
        code = subprocess.call([*DVC, "push", "--quiet", "--run-cache", stage])
    return code


def share_record(record: Path, remote: bool) -> None:
    """Where a run was trained is no output of DVC: leave it beside the results, in the remote or the shared cache, or
    take it from there if another node has trained the run. A failure costs the record, not the run.
    """
    from dvc.fs import LocalFileSystem
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            found = repo.cloud.get_remote() if remote else None
            fs, path = (found.fs, found.path) if found else (LocalFileSystem(), repo.cache.local_cache_dir)
            kept = fs.join(path, RECORDS, record.name)
            if record.exists():
                fs.makedirs(fs.parent(kept), exist_ok=True)
                fs.put_file(str(record), kept)
            elif fs.exists(kept):
                record.parent.mkdir(exist_ok=True)
                fs.get_file(kept, str(record))
    except Exception as error:  # of whatever storage it is
        print(f"{record.name}: where this run was trained is not shared: {error}", flush=True)


def data_stages() -> list[str]:
    """Names of the stages in dvc.lock whose outputs trainings read."""
    known = yaml.load(LOCK.read_text(encoding="utf-8"), yaml.BaseLoader)["stages"]
    return [name for name in known if stage_group(name) in DATA]


def end_with_parent(every: float = 1.0) -> None:
    """End this process when the one that started it has died. DVC and the training then end by themselves."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
