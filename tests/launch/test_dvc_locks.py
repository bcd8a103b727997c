"""What a stop leaves in dvc.lock and in DVC's table of locks is mended before DVC is asked; real DVC."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml

from pfml.launch import locks as dvc_locks
from pfml.launch import pipeline as launch
from pfml.launch.dvc import WATCHED
from pfml.settings.files import write_whole
from tests.launch.small_pipeline import make_repro, ran, state

DAMAGED = {
    "empty": lambda text: b"",
    "cut in half": lambda text: text[: text.index(b"\n", len(text) // 2) - 3],
    "no schema": lambda text: text.replace(b"schema: '2.0'\n", b""),
    "no mapping": lambda text: b"- a\n- list\n",
    "a merge that stopped": lambda text: b"<<<<<<< HEAD\n" + text,
    "zeros": lambda text: bytes(len(text)),
    "no text": lambda text: text + b"\xff\n",
}


def refused_by_dvc():
    return subprocess.run([*launch.DVC, "status"], capture_output=True).returncode != 0


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_dvc_lock_is_put_back_from_the_copy(project, capfd, damage):
    whole = dvc_locks.LOCK.read_bytes()
    assert dvc_locks.copy_lock()
    dvc_locks.LOCK.write_bytes(DAMAGED[damage](whole))
    dvc_locks.mend_lock()
    [line] = capfd.readouterr().out.splitlines()
    assert "dvc.lock was damaged" in line and "put back from .dvc/tmp/dvc.lock.copy" in line
    assert dvc_locks.LOCK.read_bytes() == whole


def test_what_finished_after_the_copy_comes_from_the_cache(project, finished, monkeypatch, capfd):
    """A stop while DVC wrote down the first evaluation; the copy is from before all trainings."""
    early = yaml.safe_load(dvc_locks.LOCK.read_text())
    early["stages"] = {name: entry for name, entry in early["stages"].items() if name in launch.DATA}
    write_whole(dvc_locks.COPY, yaml.safe_dump(early, sort_keys=False).encode())
    dvc_locks.LOCK.write_bytes(b"")
    assert refused_by_dvc()
    shutil.rmtree(project / "models")
    assert make_repro(project, monkeypatch) == 0
    assert capfd.readouterr().out.count("put back from") == 1
    assert state(project) == state(finished)
    assert not [name for name in ran(project) if name.startswith(("train", *launch.DATA))]
    assert dvc_locks.COPY.read_bytes() == dvc_locks.LOCK.read_bytes(), "the copy is made anew at the end"


@pytest.mark.parametrize("copy", ["none", "damaged"])
def test_without_a_copy_the_last_commit_is_taken(project, finished, monkeypatch, capfd, copy):
    dvc_locks.LOCK.write_bytes(b"")
    dvc_locks.COPY.unlink(missing_ok=True)
    if copy == "damaged":
        dvc_locks.COPY.write_bytes(b"schema: '2.0'\nstages:\n  train")
    assert refused_by_dvc()
    assert make_repro(project, monkeypatch) == 0
    assert "put back from the last commit" in capfd.readouterr().out
    assert state(project) == state(finished)


def test_without_any_copy_nothing_is_trained_again(project, finished, monkeypatch, capfd):
    dvc_locks.LOCK.write_bytes(b"")
    shutil.rmtree(project / ".git")
    (project / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    assert make_repro(project, monkeypatch) == 0
    assert "removed, since there is no copy" in capfd.readouterr().out
    assert state(project) == state(finished) and not [name for name in ran(project) if name.startswith("train")]


def test_a_whole_dvc_lock_is_never_replaced(project, capfd):
    old, new = dvc_locks.LOCK.read_bytes(), dvc_locks.LOCK.read_bytes() + b"  another:\n    cmd: 'true'\n"
    for text in (old, new, b"schema: '2.0'\n", old):  # also an older or shorter one, as after `git checkout`
        dvc_locks.LOCK.write_bytes(text)
        dvc_locks.mend_lock()
        assert dvc_locks.LOCK.read_bytes() == dvc_locks.COPY.read_bytes() == text
    dvc_locks.LOCK.unlink()
    dvc_locks.mend_lock()
    assert not dvc_locks.LOCK.exists() and dvc_locks.COPY.read_bytes() == old
    assert not capfd.readouterr().out


def test_the_lock_file_is_that_of_dvc_alone_byte_for_byte(project):
    twin = shutil.copytree(project, project.parent / "twin", symlinks=True)
    name = "a name so long that DVC breaks the line of the command that has it"
    for folder in (project, twin):
        text = (folder / "dvc.yaml").read_text()
        (folder / "dvc.yaml").write_text(text.replace("echo train_b", f"true {name} && echo train_b"))
        before = (folder / "dvc.lock").read_bytes()
        command = WATCHED if folder == project else launch.DVC
        subprocess.run([*command, "repro", "--quiet", "evaluate_b"], cwd=folder, check=True)
        assert (folder / "dvc.lock").read_bytes() != before
    assert (project / "dvc.lock").read_bytes() == (twin / "dvc.lock").read_bytes()


def test_a_dvc_lock_that_is_being_written_is_neither_copied_nor_replaced(project):
    from dvc.lock import make_lock

    whole = dvc_locks.LOCK.read_bytes()
    assert dvc_locks.copy_lock()
    half = whole[: len(whole) // 2]
    dvc_locks.LOCK.write_bytes(half)
    assert not dvc_locks.copy_lock() and dvc_locks.COPY.read_bytes() == whole
    with make_lock(".dvc/tmp/lock"), pytest.raises(dvc_locks.Busy, match="another DVC process"):
        dvc_locks.mend_lock()
    assert dvc_locks.LOCK.read_bytes() == half
    dvc_locks.mend_lock()
    assert dvc_locks.LOCK.read_bytes() == whole


@pytest.mark.parametrize("left", ["", '{"write": {"/models/a": {"pid": 12'])
def test_a_half_written_table_of_locks_is_dropped(project, monkeypatch, left):
    table = project / ".dvc/tmp/rwlock"
    table.write_text(left)
    (project / "reports/tables.md").unlink()
    assert subprocess.run([*launch.DVC, "repro", "--quiet"], capture_output=True).returncode != 0
    assert make_repro(project, monkeypatch) == 0
    assert (project / "reports/tables.md").exists()


def test_a_task_waits_for_the_process_that_a_killed_one_left_at_work_on_its_stage(tmp_path, monkeypatch):
    """As after a job that Slurm queued again: DVC of its first attempt ends seconds later."""
    monkeypatch.chdir(tmp_path)
    dvc_locks.RWLOCK.parent.mkdir(parents=True)
    code = ["-c", "import time; time.sleep(2)", "dvc", "repro"]
    with subprocess.Popen([sys.executable, *code]) as left, subprocess.Popen([sys.executable, *code]) as other:
        table = {
            f"/models/{name}": {"pid": process.pid, "cmd": f"dvc repro --single-item train@{name}"}
            for name, process in (("a", left), ("b", other))
        }
        dvc_locks.RWLOCK.write_text(json.dumps({"write": table, "read": {}}))
        with pytest.raises(dvc_locks.Busy, match=rf"train@a: process {left.pid} is at work on it"):
            dvc_locks.await_stage("train@a", patience=0.5)
        dvc_locks.await_stage("train@c")
        assert left.poll() is None, "another stage is no reason to wait"
        dvc_locks.await_stage("train@a")
        assert left.poll() is not None
