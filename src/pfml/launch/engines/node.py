"""One task on a node, in the driver's tree:

    python -m pfml.launch.engines.node <remote|shared> train <stage>
    python -m pfml.launch.engines.node <remote|shared> trial <method> <settings> <file>

DVC takes the data from its remote or from the shared cache, once a node, and a run itself where another node has
finished it. What is trained here goes to the remote with its entry of the run cache, so that the driver need not train
it. A trial leaves its scores in a file, which goes back to the driver by itself.
"""

import os
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
BROUGHT = Path(".brought")  # is there once the data are


def main(way: str, what: str, *arguments: str) -> int:
    end_with_parent()
    return {"train": train, "trial": trial}[what](way == "remote", *arguments)


def bring_data(remote: bool) -> int:
    """Take the data once, whichever task comes first; returns DVC's exit code."""
    from filelock import FileLock

    with FileLock(f"{BROUGHT}.lock"):
        if BROUGHT.exists():
            return 0
        code = subprocess.call([*DVC, *(["pull"] if remote else ["checkout"]), "--quiet", *data_stages()])
        if not code:
            BROUGHT.touch()
    return code


def trial(remote: bool, method: str, settings: str, file: str) -> int:
    return bring_data(remote) or subprocess.call([sys.executable, "stages/tune.py", method, settings, file])


def train(remote: bool, stage: str) -> int:
    await_stage(stage)
    code = bring_data(remote) or subprocess.call([*DVC, "repro", *["--pull"] * remote, "--single-item", stage])
    if remote and not code:
        code = subprocess.call([*DVC, "push", "--quiet", "--run-cache", stage])
    return code


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
