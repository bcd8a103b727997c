"""Faults of nodes, without a cluster: tasks run as an engine runs them, in folders that stand for nodes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pfml.launch.engines.task import Order, Outcome, Task
from pfml.launch.grid import grid, order_of, tasks_of
from pfml.launch.pipeline import prepare, run, stale_stages
from pfml.settings.load import load_params
from tests.launch.clusters import driver_with_remote, results, study_of_one_machine
from tests.pipeline.clones import ENVIRONMENT
from tests.small_disk import small_disk

pytestmark = [pytest.mark.long, pytest.mark.pipeline]
OURS = {
    "grid": {"field": ["pfml"], "baseline": [], "noise": [0.0, 0.2]}, "ablation": {"points": []},
    "tune": {"method": []}, "complexity": {"baseline": []}, "tracking": {"enabled": False},
}  # fmt: skip
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
        import pickle

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
        import pickle

        self.said, _ = self.start(one, order).communicate(timeout=500)
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


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return study_of_one_machine(tmp_path_factory.mktemp("alone"), **OURS)


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A clone that has run nothing but its data, with a DVC remote, as the working directory."""
    folder = driver_with_remote(tmp_path / "driver", str(tmp_path / "store"), **OURS)
    monkeypatch.chdir(folder)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return folder


def planned(driver: Path) -> tuple[list[Task], Order]:
    """The tasks of the study and their order, once its data are in the remote."""
    params = load_params()
    prepare(params)
    run([[sys.executable, "-m", "dvc", "repro", "plan", "fetch", "split", "noise", "features"]], 1)
    run([[sys.executable, "-m", "dvc", "push", "--quiet"]], 1)
    return list(tasks_of(params, set(stale_stages()), 0.0)), order_of(driver, True)


def kill(process: subprocess.Popen) -> None:
    """All processes of a node at once, as when its power fails."""
    everyone = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in everyone:
        one.send_signal(signal.SIGKILL)
    psutil.wait_procs(everyone, timeout=30)
    process.communicate()


def pushing(process: subprocess.Popen) -> bool:
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return any("push" in child.cmdline() for child in children)
    except psutil.Error:
        return False


def test_a_node_that_is_killed_at_the_push_of_its_result_has_not_lost_it(alone, driver, tmp_path):
    (first, *_), order = planned(driver)
    node = Node(tmp_path / "a")
    process = node.start(first, order)
    while process.poll() is None and not pushing(process):
        time.sleep(0.02)
    kill(process)
    assert not node.answer.exists()
    outcome = node.run(first, order)
    assert outcome.code == 0 and "Running stage" not in node.said, "trained once, pushed now"
    elsewhere = Node(tmp_path / "b")
    assert elsewhere.run(first, order).code == 0 and "Running stage" not in elsewhere.said, "taken from the remote"
    assert grid(load_params(), Engine(tmp_path / "b"), (1, 2))
    assert results(driver) == results(alone)


def test_a_node_whose_disk_is_full_says_so_and_another_one_takes_the_run(alone, driver, tmp_path):
    (first, *_), order = planned(driver)
    with small_disk(tmp_path / "small", 1500) as room:
        outcome = Node(room / "node").run(first, order)
        assert outcome.code and any("No space left on device" in line for line in outcome.lines), outcome
    with small_disk(tmp_path / "larger", 120_000) as room:  # the tree finds room, the data do not
        filler = room / "filler"
        filler.write_bytes(bytes(100_000_000))
        node = Node(room / "node")
        outcome = node.run(first, order)
        assert outcome.code and "No space left" in node.said, node.said
        filler.unlink()
        assert node.run(first, order).code == 0, "with room, the same node goes on"
    assert grid(load_params(), Engine(tmp_path / "b"), (1, 2))
    assert results(driver) == results(alone)


def test_a_full_remote_costs_no_training(alone, driver, tmp_path, capfd):
    with small_disk(tmp_path / "store", 60_000) as room:
        tasks, order = planned(driver)
        filler = room / "filler"
        filler.write_bytes(bytes(os.statvfs(room).f_bavail * os.statvfs(room).f_frsize))
        engine = Engine(tmp_path / "a")
        outcome = engine.run(tasks[:1], order, lambda *_: None)[0]
        assert outcome.code and "No space left" in engine.said, engine.said
        filler.unlink()
        assert grid(load_params(), engine, (1, 2))
        trained = capfd.readouterr().out
        assert f"Running stage '{tasks[0].arguments[1]}'" not in trained
        assert results(driver) == results(alone)


def test_a_node_with_other_instructions_and_threads_computes_the_same(alone, driver, tmp_path):
    """Stages limit the libraries themselves, whatever a node's environment says."""
    odd = {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "3", "MKL_CBWR": "AVX2", "NPY_ENABLE_CPU_FEATURES": "X"}
    assert grid(load_params(), Engine(tmp_path / "a", **odd), (1, 2))
    assert results(driver) == results(alone)
