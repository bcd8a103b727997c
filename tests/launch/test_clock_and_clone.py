"""A clock that was set back, a shallow clone, a folder with any name; real DVC on the small pipeline."""

import os
import shutil
import subprocess
import time

import pytest

from pfml.launch import pipeline as launch
from tests.launch.small_pipeline import git, make_repro, ran, state

YEAR = 365 * 86400


def test_files_of_the_future_are_up_to_date_and_a_change_from_the_past_is_seen(project, finished, monkeypatch):
    """What the clock wrote before it was set back."""
    for path in project.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            os.utime(path, (time.time() + YEAR, time.time() + YEAR))
    assert make_repro(project, monkeypatch) == 0 and not ran(project) and state(project) == state(finished)
    source = project / "source/train_b"
    source.write_text("another\n")
    os.utime(source, (time.time() - YEAR, time.time() - YEAR))
    assert make_repro(project, monkeypatch) == 0 and "train_b" in ran(project)
    assert b"another" in (project / "reports/tables.md").read_bytes() and launch.stale_stages() == []


def test_a_shallow_clone_runs_and_mends_its_lock_file(finished, tmp_path, monkeypatch, capfd):
    origin, shallow = shutil.copytree(finished, tmp_path / "origin", symlinks=True), tmp_path / "shallow"
    git(origin, "commit", "-q", "--allow-empty", "-m", "a second commit")
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{origin}", shallow], check=True)
    assert make_repro(shallow, monkeypatch) == 0
    assert state(shallow) == state(finished)
    for path in (shallow / ".dvc/tmp/dvc.lock.copy", shallow / "dvc.lock"):
        path.write_text("half of a")
    capfd.readouterr()
    assert make_repro(shallow, monkeypatch) == 0
    assert "put back from the last commit" in capfd.readouterr().out and state(shallow) == state(finished)


@pytest.mark.parametrize("name", ["ä文 100%20", "what? it's (1) a#b&c;d"])
def test_a_folder_may_have_any_name(finished, tmp_path, monkeypatch, name):
    folder = shutil.copytree(finished, tmp_path / name, symlinks=True)
    (folder / "source/train_b").write_text("another\n")
    assert make_repro(folder, monkeypatch) == 0 and "train_b" in ran(folder)
    assert b"another" in (folder / "reports/tables.md").read_bytes() and launch.stale_stages() == []
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing is written beside it"
