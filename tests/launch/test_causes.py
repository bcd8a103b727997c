"""Where DVC cannot go on, `make repro` says why; real DVC on the small pipeline."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.launch.small_pipeline import make_repro, ran
from tests.small_disk import small_disk


def test_a_file_that_another_dvc_process_works_on_is_named(project, monkeypatch, capfd):
    """As with `dvc repro` beside `make repro`."""
    from dvc.fs import LocalFileSystem
    from dvc.rwlock import rwlock

    (project / "source/train_b").write_text("another\n")
    model = str(project / "models/small/b")
    with rwlock(str(project / ".dvc/tmp"), LocalFileSystem(), "dvc repro", [], [model], False):
        monkeypatch.setattr("pfml.launch.pipeline.await_predecessors", lambda: None)  # it began after the start
        assert make_repro(project, monkeypatch) != 0
    err = capfd.readouterr().err
    assert "models/small/b' is busy" in err and f"(PID {os.getpid()})" in err
    assert "failed: dvc status" in err and not ran(project)


def test_a_stage_that_fails_is_named_with_its_command(project, monkeypatch, capfd):
    (project / "source/train_b").unlink()
    (project / "source/train_b").mkdir()
    (project / "source/train_b/two words").touch()  # which `cat` takes for two files
    assert make_repro(project, monkeypatch) != 0
    err = capfd.readouterr().err
    assert "ERROR: failed to reproduce 'train_b': failed to run: test -e source/train_b" in err


@pytest.mark.parametrize(
    "gone, said", [(".git", "expected a clone, a repository of Git"), ("dvc.yaml", "expected the pipeline's stages")]
)
def test_without_what_dvc_needs_the_cause_is_printed(project, monkeypatch, capfd, gone, said):
    path = Path(gone)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert make_repro(project, monkeypatch) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: ") and said in err and err.count("\n") == 1
    assert gone == "dvc.yaml" or "`make tables`" in err


def test_a_repository_of_another_user_is_named_with_gits_advice(project, monkeypatch, capfd):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert make_repro(project, monkeypatch) == 2
    err = capfd.readouterr().err
    assert "dubious ownership" in err and "git config --global --add safe.directory" in err


@pytest.mark.parametrize("place", ["data", "models", "reports"])
def test_a_folder_that_cannot_be_written_is_named(project, monkeypatch, capfd, place):
    shutil.move(place, "kept")
    with small_disk(project / place, 400):
        shutil.copytree("kept", place, dirs_exist_ok=True)
        name = {"data": "split", "models": "train_b", "reports": "report"}[place]
        (project / "source" / name).write_text("another\n")
        subprocess.run(["mount", "-o", "remount,ro", project / place], check=True)
        assert make_repro(project, monkeypatch) != 0
        err = capfd.readouterr().err
    assert "Read-only file system" in err and f"{place}/" in err and "Traceback" not in err, err
    shutil.rmtree(place)
    shutil.move("kept", place)
    assert make_repro(project, monkeypatch) == 0 and name in ran(project)
