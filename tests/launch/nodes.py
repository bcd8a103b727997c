"""Machines of a cluster: a folder for each, and a process that runs one task as Ray's workers and Slurm's jobs do."""

import pickle
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from pfml.launch.dvc import DATA
from pfml.launch.engines.task import Order, Outcome, Task
from pfml.launch.grid import order_of, tasks_of, trainings_of
from pfml.launch.pipeline import dvc, prepare, stale_stages
from pfml.settings.load import load_params
from tests.pipeline.clones import ENVIRONMENT

NODE = """
import pickle, sys
from pfml.launch.engines.here import run_task
one, order = pickle.load(open(sys.argv[1], "rb"))
outcome = run_task(one, order, lambda line: print(line, flush=True))
pickle.dump(outcome, open(sys.argv[2], "wb"))
"""


class Node:
    """A machine: a folder, and a process that runs one task as Ray's workers and Slurm's jobs do."""

    def __init__(self, folder: Path, **variables):
        self.folder, self.variables, self.said = folder, variables, ""

    def start(self, one: Task, order: Order) -> subprocess.Popen:
        self.order, self.answer = Path("../order"), Path("../answer")  # not on the disk of the node
        self.answer.unlink(missing_ok=True)
        self.order.write_bytes(pickle.dumps((one, order)))
        variables = ENVIRONMENT | {"PFML_NODE_DIR": str(self.folder)} | self.variables
        return subprocess.Popen(
            [sys.executable, "-c", NODE, self.order.resolve(), self.answer.resolve()], env=variables,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip

    def run(self, one: Task, order: Order) -> Outcome:
        self.said, _ = self.start(one, order).communicate(timeout=500)
        return self.outcome()

    def outcome(self) -> Outcome:
        assert self.answer.exists(), self.said
        return pickle.loads(self.answer.read_bytes())

    def gpus(self) -> float:
        return 0.0


class Engine(Node):
    """All tasks on one node, one after the other."""

    def run(self, tasks, order, tell):
        found = []
        for one in tasks:
            found.append(super().run(one, order))
            for line in self.said.splitlines():
                tell(one.name, "node", line)
        return found


def kill(process: subprocess.Popen) -> None:
    """All processes of a node at once, as when its power fails."""
    everyone = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in everyone:
        one.send_signal(signal.SIGKILL)
    psutil.wait_procs(everyone, timeout=30)
    process.communicate()


def planned(driver: Path) -> tuple[list[Task], Order]:
    """The tasks of the study and their order, once its data are in the remote."""
    params = load_params()
    prepare(params)
    dvc("repro", *DATA)
    dvc("push", "--quiet")
    return tasks_of(params, trainings_of(params, set(stale_stages())), True, 0.0), order_of(driver, True)


def pushing(process: subprocess.Popen) -> bool:
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return any("push" in child.cmdline() for child in children)
    except psutil.Error:
        return False
