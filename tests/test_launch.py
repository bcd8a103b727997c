"""What `make repro` does around DVC; tests/pipeline runs it whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pfml.launch import locks as dvc_locks
from pfml.launch import pipeline as launch
from tests.conftest import ROOT


@pytest.fixture
def locks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".dvc/tmp/rwlock"
    path.parent.mkdir(parents=True)

    def held_by(pid):
        path.write_text(json.dumps({"write": {"models": {"pid": pid, "cmd": "dvc"}}, "read": {}}))
        return path

    return held_by


def test_locks_of_a_dead_pipeline_are_dropped(locks):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    path = locks(process.pid)
    dvc_locks.await_predecessors()
    assert not path.exists()


def test_locks_whose_number_another_program_has_are_dropped(locks):
    process = subprocess.Popen(["sleep", "30"])
    path = locks(process.pid)
    dvc_locks.await_predecessors(patience=0)
    assert not path.exists()
    process.kill()
    process.wait()


def test_a_living_pipeline_is_respected(locks, tmp_path):
    (tmp_path / "dvc").write_text("import time; time.sleep(30)")
    process = subprocess.Popen([sys.executable, "dvc"])
    path = locks(process.pid)
    with pytest.raises(dvc_locks.Busy, match=str(process.pid)):
        dvc_locks.await_predecessors(patience=0.3)
    assert path.exists()
    process.kill()
    process.wait()


def test_no_locks_no_wait(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dvc_locks.await_predecessors()


def test_what_takes_longest_starts_beside_the_first_of_its_wave():
    stale = [
        "train@glyphs-pfml-0.0-0", "ablate@alpha-1-0", "evaluate@glyphs-pfml-0.0-0", "report", "theory",
        "embedding_figures@glyphs", "loss_figures", "figures",
    ]  # fmt: skip
    first, second = (launch.wave(stale, groups) for _, groups in launch.WAVES)
    assert first == ["theory", "train@glyphs-pfml-0.0-0", "ablate@alpha-1-0", "loss_figures"]
    assert second == ["embedding_figures@glyphs", "evaluate@glyphs-pfml-0.0-0"]


def test_short_stages_share_a_process_and_every_run_at_a_time_has_one():
    names = [str(i) for i in range(33)]
    assert launch.divided(names, 2, 1) == [[name] for name in names]
    parts = launch.divided(names, 2, 8)
    assert [name for part in parts for name in part] == names and [len(part) for part in parts] == [8, 8, 8, 8, 1]
    assert [len(part) for part in launch.divided(names[:5], 2, 8)] == [3, 2]
    assert launch.divided(names[:2], 8, 8) == [["0"], ["1"]] and launch.divided([], 2, 8) == []


def test_commands_run_side_by_side_and_a_failure_stops_the_rest(tmp_path):
    meet = (
        "import pathlib, sys, time\npathlib.Path(sys.argv[1]).touch()\n"
        "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(.01)"
    )
    a, b = tmp_path / "a", tmp_path / "b"
    launch.run([[sys.executable, "-c", meet, a, b], [sys.executable, "-c", meet, b, a]], 2)  # each waits for the other

    touch = [sys.executable, "-c", "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"]
    with pytest.raises(subprocess.CalledProcessError):
        launch.run([[*touch, tmp_path / "first"], ["false"], [*touch, tmp_path / "third"]], 1)
    assert (tmp_path / "first").exists() and not (tmp_path / "third").exists()


def test_runs_are_spread_over_the_gpus_that_may_be_used(tmp_path, monkeypatch):
    """Four runs at a time, each of which ends only when all four are at work, see four GPUs twice in turn."""
    meet = (
        "import os, pathlib, sys, time\nfolder, name, four = pathlib.Path(sys.argv[1]), *sys.argv[2:]\n"
        "(folder / name).write_text(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))\n"
        "while four == 'four' and len(list(folder.iterdir())) < 4: time.sleep(.01)"
    )

    def seen(folder, jobs, four):
        folder.mkdir()
        launch.run([[sys.executable, "-c", meet, folder, str(i), four] for i in range(4)], jobs)
        return sorted(path.read_text() for path in folder.iterdir())

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert launch.devices() == ["2", "5"]
    assert seen(tmp_path / "shared", 4, "four") == ["2", "2", "5", "5"]
    assert seen(tmp_path / "alone", 1, "one") == ["2,5"] * 4  # a run over several GPUs
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert launch.devices() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    listed = tmp_path / "nvidia-smi"
    listed.write_text(
        "#!/bin/sh\necho 'GPU 0: H100 (UUID: GPU-1)'\necho '  MIG 1g.10gb'\necho 'GPU 1: H100 (UUID: GPU-2)'\n"
    )
    listed.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert launch.devices() == ["0", "1"]
    assert seen(tmp_path / "found", 4, "four") == ["0", "0", "1", "1"]
    listed.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert launch.devices() == [] and seen(tmp_path / "none", 2, "one") == ["all"] * 4


def test_several_processes_of_a_run_see_all_gpus(tmp_path, monkeypatch):
    show = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(os.environ['CUDA_VISIBLE_DEVICES'])"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.setenv("PFML_PROCESSES", "2")
    launch.run([[sys.executable, "-c", show, tmp_path / name] for name in "ab"], 2)
    assert [(tmp_path / name).read_text() for name in "ab"] == ["2,5"] * 2


@pytest.mark.parametrize(
    ("gpus", "processes", "asked", "expected"),
    [("", "1", 0, 6), ("0", "1", 0, 1), ("0,1,2", "1", 0, 3), ("0,1,2", "2", 0, 1), ("0", "1", 4, 4)],
)
def test_trainings_at_a_time_are_as_many_as_gpus(monkeypatch, gpus, processes, asked, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setenv("PFML_PROCESSES", processes)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert launch.at_a_time(asked) == (expected, asked or 6)


def test_a_bad_configuration_is_exit_code_2(raw, write, tmp_path):
    raw["loss"]["alpha"] = -1
    write(raw)
    found = subprocess.run(
        [sys.executable, "-m", "pfml.launch"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": os.path.join(os.path.dirname(os.path.dirname(__file__)), "src")},
    )  # fmt: skip
    assert found.returncode == 2 and "loss.alpha" in found.stderr and not (tmp_path / ".dvc").exists()


def test_models_of_runs_that_left_the_grid_are_removed(tiny, write, tmp_path, monkeypatch):
    from pfml.settings.load import load_params
    from pfml.settings.runs import planned_runs

    monkeypatch.chdir(tmp_path)
    tiny["mlrc"]["field"], tiny["train"]["hold_out"] = ["pfml"], True
    params = load_params(write(tiny))
    kept = [run.paths().model for run in planned_runs(params)]
    gone = [Path("models/grid/glyphs/pfml-0.0-7"), Path("models/ablation/alpha-9-0")]
    gone += [Path("models/folds/glyphs/pfml-0/4"), Path("models/folds/glyphs/cpml-0/0")]
    for folder in kept + gone:
        folder.mkdir(parents=True)
    launch.prune_models(params)
    assert all(folder.exists() for folder in kept) and not any(folder.exists() for folder in gone)


@pytest.mark.parametrize("arguments, passed", [(["-j", "3"], "-j3"), (["-j5"], "-j5"), (["J=4"], "-j4"), ([], ""),
                          (["PRESET=mine", "MISSING=1"], "--preset=mine --missing")])  # fmt: skip
def test_make_hands_on_the_number_of_runs(arguments, passed):
    found = subprocess.run(
        ["make", "-n", "repro", *arguments], cwd=ROOT, capture_output=True, text=True, check=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
    ).stdout  # fmt: skip
    [line] = [line for line in found.splitlines() if "pfml repro" in line and "echo" not in line]
    assert line.split("pfml repro")[1].strip() == passed
