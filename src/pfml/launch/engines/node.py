"""One task on a node: `python -m pfml.launch.engines.node <remote|shared> <stage>`, in the driver's tree.

DVC takes the data from its remote or from the shared cache, once a node, and the run itself where another node has
finished it. What is trained here goes to the remote with its entry of the run cache, so that the driver need not train
it.
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
PLAN = Path("data/plan/study.json")


def main(way: str, stage: str) -> int:
    end_with_parent()
    remote = way == "remote"
    await_stage(stage)
    bring = ["pull"] if remote else ["checkout"]
    code = 0 if PLAN.is_file() else subprocess.call([*DVC, *bring, "--quiet", *data_stages()])
    code = code or subprocess.call([*DVC, "repro", *["--pull"] * remote, "--single-item", stage])
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
