"""Faults of nodes, without a cluster: tasks run as an engine runs them, in folders that stand for nodes."""

import os
import time

import psutil
import pytest

from pfml.launch.engines.node import arguments
from pfml.launch.engines.task import Task
from pfml.launch.grid import grid
from pfml.settings.load import load_params
from tests.launch.clusters import driver_with_remote, results, study_of_one_machine
from tests.launch.nodes import Engine, Node, kill, planned, pushing
from tests.pipeline.clones import ENVIRONMENT
from tests.small_disk import small_disk

pytestmark = [pytest.mark.long, pytest.mark.pipeline]
OURS = {
    "grid": {"field": ["pfml"], "baseline": [], "noise": [0.0, 0.2]}, "ablation": {"points": []},
    "tune": {"method": []}, "complexity": {"baseline": []}, "tracking": {"enabled": False},
}  # fmt: skip


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
        assert f"Running stage '{tasks[0].arguments[-2]}'" not in trained
        assert results(driver) == results(alone)


def test_a_node_with_other_instructions_and_threads_computes_the_same(alone, driver, tmp_path):
    """Stages limit the libraries themselves, whatever a node's environment says."""
    odd = {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "3", "MKL_CBWR": "AVX2", "NPY_ENABLE_CPU_FEATURES": "X"}
    assert grid(load_params(), Engine(tmp_path / "a", **odd), (1, 2))
    assert results(driver) == results(alone)


def test_a_trial_ends_with_the_process_that_started_it(tmp_path, monkeypatch):
    searched = {"method": ["contrastive"], "trials": 10, "noise": [0.2]}
    long = OURS | {"grid": OURS["grid"] | {"baseline": ["contrastive"]}, "tune": searched, "train": {"epochs": 4000}}
    driver = driver_with_remote(tmp_path / "driver", str(tmp_path / "store"), **long)
    monkeypatch.chdir(driver)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    _, order = planned(driver)
    one = Task("contrastive-trial-1", arguments(True, "trial", "contrastive", "{}", ".trials/1.json"), ".trials/1.json")
    process = Node(tmp_path / "a").start(one, order)

    def in_training(child: psutil.Process) -> bool:
        return "trial" in child.cmdline() and any("libtorch" in one.path for one in child.memory_maps())

    trial = None
    while trial is None:
        assert process.poll() is None, process.communicate()[0]
        trial = next((one for one in psutil.Process(process.pid).children() if in_training(one)), None)
        time.sleep(0.1)
    process.kill()
    assert trial.wait(timeout=60) is None, "a process that is no child of this one has no exit code here"
