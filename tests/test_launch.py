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
