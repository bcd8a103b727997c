"""Tasks as processes of this machine."""

import os
import time

import pytest

from pfml.launch.engines.local import LocalEngine, at_a_time, devices
from pfml.launch.engines.task import Task

TOUCH = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"
MEET = (
    "import pathlib, sys, time\npathlib.Path(sys.argv[1]).touch()\n"
    "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(.01)"
)


def codes(engine: LocalEngine, *commands: tuple) -> list[int]:
    """Exit codes of Python programs with their arguments, in the order in which they ended."""
    tasks = [Task(str(i), ("-c", *map(str, command))) for i, command in enumerate(commands)]
    return [outcome.code for outcome in engine.run(tasks)]


def test_tasks_run_side_by_side_and_a_failure_stops_the_rest(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    assert codes(LocalEngine(2), (MEET, a, b), (MEET, b, a)) == [0, 0], "each waits for the other"

    tasks = (TOUCH, tmp_path / "first"), ("exit(3)",), (TOUCH, tmp_path / "third")
    assert codes(LocalEngine(1), *tasks) == [0, 3]
    assert (tmp_path / "first").exists() and not (tmp_path / "third").exists()
    assert codes(LocalEngine(1, keep_going=True), *tasks) == [0, 3, 0] and (tmp_path / "third").exists()


def test_what_is_at_work_when_a_task_fails_is_finished(tmp_path):
    slow = f"import time; time.sleep(1); {TOUCH}"
    assert codes(LocalEngine(2), ("exit(3)",), (slow, tmp_path / "slow"), (TOUCH, tmp_path / "later")) == [3, 0]
    assert (tmp_path / "slow").exists() and not (tmp_path / "later").exists()


def test_what_a_task_prints_goes_to_its_file(tmp_path):
    engine = LocalEngine(2, log=lambda name: tmp_path / f"{name}.log")
    assert codes(engine, ("print('out')",), ("import sys; print('err', file=sys.stderr)",)) == [0, 0]
    assert [(tmp_path / f"{i}.log").read_text() for i in range(2)] == ["out\n", "err\n"]


def test_an_interrupt_ends_what_is_at_work(tmp_path):
    sleep = "import os, pathlib, sys, time\npathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\ntime.sleep(60)"
    pid = tmp_path / "pid"
    outcomes = LocalEngine(2).run([Task("short", ("-c", "")), Task("long", ("-c", sleep, str(pid)))])
    assert next(outcomes).name == "short"
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.01)
    started = time.monotonic()
    outcomes.close()  # as an exception in the loop over them does
    assert time.monotonic() - started < 50
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_runs_are_spread_over_the_gpus_that_may_be_used(tmp_path, monkeypatch):
    """Four runs at a time, each of which ends only when all four are at work, see four GPUs twice in turn."""
    meet = (
        "import os, pathlib, sys, time\nfolder, name, four = pathlib.Path(sys.argv[1]), *sys.argv[2:]\n"
        "(folder / name).write_text(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))\n"
        "while four == 'four' and len(list(folder.iterdir())) < 4: time.sleep(.01)"
    )

    def seen(folder, jobs, four):
        folder.mkdir()
        assert codes(LocalEngine(jobs), *[(meet, folder, i, four) for i in range(4)]) == [0] * 4
        return sorted(path.read_text() for path in folder.iterdir())

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert devices() == ["2", "5"]
    assert seen(tmp_path / "shared", 4, "four") == ["2", "2", "5", "5"]
    assert seen(tmp_path / "alone", 1, "one") == ["2,5"] * 4  # a run over several GPUs
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert devices() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    listed = tmp_path / "nvidia-smi"
    listed.write_text(
        "#!/bin/sh\necho 'GPU 0: H100 (UUID: GPU-1)'\necho '  MIG 1g.10gb'\necho 'GPU 1: H100 (UUID: GPU-2)'\n"
    )
    listed.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert devices() == ["0", "1"]
    assert seen(tmp_path / "found", 4, "four") == ["0", "0", "1", "1"]
    listed.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert devices() == [] and seen(tmp_path / "none", 2, "one") == ["all"] * 4


def test_several_processes_of_a_run_see_all_gpus(tmp_path, monkeypatch):
    show = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(os.environ['CUDA_VISIBLE_DEVICES'])"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.setenv("PFML_PROCESSES", "2")
    assert codes(LocalEngine(2), *[(show, tmp_path / name) for name in "ab"]) == [0, 0]
    assert [(tmp_path / name).read_text() for name in "ab"] == ["2,5"] * 2


@pytest.mark.parametrize(
    ("gpus", "processes", "asked", "expected"),
    [("", "1", 0, 6), ("0", "1", 0, 1), ("0,1,2", "1", 0, 3), ("0,1,2", "2", 0, 1), ("0", "1", 4, 4)],
)
def test_trainings_at_a_time_are_as_many_as_gpus(monkeypatch, gpus, processes, asked, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setenv("PFML_PROCESSES", processes)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert at_a_time(asked) == (expected, asked or 6)
