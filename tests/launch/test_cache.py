"""A damaged object in DVC's cache is found before an output comes from there; real DVC on the small pipeline."""

import shutil
from pathlib import Path

import pytest
import yaml

from pfml.launch import cache
from pfml.launch import pipeline as launch
from tests.launch.small_pipeline import make_repro, ran, state


def object_of(out: str, ending: str = "") -> Path:
    """The object of an output: of a folder its list, or with `ending` a file in it."""
    lock = yaml.safe_load(Path("dvc.lock").read_text())["stages"]
    [digest] = {one["md5"] for stage in lock.values() for one in stage.get("outs", ()) if one["path"] == out}
    path = cache.cache_folder() / digest[:2] / digest[2:]
    if not ending:
        return path
    [entry] = [one for one in yaml.safe_load(path.read_text()) if one["relpath"] == ending]
    return cache.cache_folder() / entry["md5"][:2] / entry["md5"][2:]


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes({"flipped": bytes([data[0] ^ 1]) + data[1:], "cut off": data[:-1], "empty": b""}[how])
    path.chmod(0o444)


@pytest.mark.parametrize("how", ["flipped", "cut off", "empty"])
@pytest.mark.parametrize("ending", ["", "run.json"])
def test_an_output_that_is_gone_does_not_come_back_damaged(project, finished, monkeypatch, capfd, how, ending):
    path = object_of("models/small/b", ending)
    damage(path, how)
    shutil.rmtree("models/small/b")
    assert make_repro(project, monkeypatch) == 0
    assert f"{path}: damaged, its MD5 is not its name: removed" in capfd.readouterr().out
    assert state(project) == state(finished) and "train_b" in ran(project), "nothing else has it"
    assert cache.md5(path) == path.parent.name + path.name.removesuffix(".dir")


def test_what_the_working_directory_has_is_put_back(project, finished, monkeypatch, capfd):
    path = object_of("models/small/b", "run.json")
    damage(path, "flipped")
    assert make_repro(project, monkeypatch) == 0
    assert f"{path}: damaged, its MD5 is not its name: put back from models/small/b/" in capfd.readouterr().out
    assert not ran(project) and launch.stale_stages() == []
    shutil.rmtree("models/small/b")
    assert make_repro(project, monkeypatch) == 0
    assert state(project) == state(finished) and not ran(project)


def test_an_object_is_read_once_until_it_changes(project, monkeypatch):
    read = []
    monkeypatch.setattr(cache, "md5", lambda path, before=cache.md5: read.append(path) or before(path))
    cache.mend_cache()
    assert {path for path, _ in cache.objects(cache.cache_folder())} == set(read)
    read.clear()
    cache.mend_cache()
    assert not read
    (project / cache.CHECKED).write_text("[half a")
    cache.mend_cache()
    assert read, "a damaged memory counts as none"


def test_the_cache_may_lie_elsewhere(project, monkeypatch, tmp_path):
    shutil.move(".dvc/cache", tmp_path / "elsewhere")
    (project / ".dvc/config.local").write_text(f"[cache]\n    dir = {tmp_path / 'elsewhere'}\n")
    path = object_of("models/small/b", "more.bin")
    assert tmp_path / "elsewhere" in path.parents
    damage(path, "flipped")
    shutil.rmtree("models/small/b")
    assert make_repro(project, monkeypatch) == 0 and cache.md5(path) == path.parent.name + path.name
