"""A full disk during `make repro`: what was being written is named, and with more room the end is the same."""

import shutil

from tests.launch.small_pipeline import make_repro, plain, ran, state
from tests.small_disk import small_disk


def fill(folder, leave):
    """Leave so many bytes of a disk."""
    (folder / "filler").write_bytes(bytes(shutil.disk_usage(folder).free - leave))


def test_a_full_cache_is_named(project, finished, monkeypatch, capfd, tmp_path):
    source = project / "source/train_b"
    source.write_text("another " * 4000 + "\n")
    twin = shutil.copytree(project, tmp_path / "twin", symlinks=True)
    plain(twin)
    room = tmp_path / "cache"
    with small_disk(room, 2000):
        shutil.copytree(".dvc/cache", room, dirs_exist_ok=True)
        (project / ".dvc/config.local").write_text(f"[cache]\n    dir = {room}\n")
        fill(room, leave=8192)
        assert make_repro(project, monkeypatch) != 0
        err = capfd.readouterr().err
        assert "No space left on device" in err and str(room) in err and "what is finished is kept" in err
        assert "train_b" in ran(project)
        (room / "filler").unlink()
        assert make_repro(project, monkeypatch) == 0
        assert state(project) == state(twin)


def test_a_full_disk_of_reports_is_named(project, monkeypatch, capfd):
    """The stages of this pipeline are shell commands, so the words are those of `cat`."""
    shutil.move("reports", "kept")
    with small_disk(project / "reports", 96):
        shutil.copytree("kept", "reports", dirs_exist_ok=True)
        (project / "source/report").write_text("x" * 200_000)
        assert make_repro(project, monkeypatch) != 0
        err = capfd.readouterr().err
        assert "No space left on device" in err and "report" in err
    shutil.rmtree("reports")
    shutil.move("kept", "reports")
    assert make_repro(project, monkeypatch) == 0
    assert "x" * 200_000 in (project / "reports/tables.md").read_text()
