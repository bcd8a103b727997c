"""Checkpoints: a damaged one is never trained on, and a finished run keeps its last one until DVC has stored it."""

import hashlib
import io
import pickle
import re
import shutil
import subprocess
import sys

import pytest
import torch

from pfml.settings.dvc_cache import md5
from pfml.settings.plan import read_run
from pfml.training.checkpoint import BEFORE, LAST, drop_checkpoint, load_checkpoint, save_checkpoint
from tests.small_disk import small_disk
from tests.training.stage_process import finish, outputs, start, wait_for_epoch


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


DAMAGE = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "a bit of the tensors": lambda data: flip(data, len(data) // 2),
    "a bit of the digest": lambda data: flip(data, 5),
    "without its digest": lambda data: data.partition(b"\n")[2],
    "zeros": lambda data: bytes(len(data)),
}


def states(folder, *names):
    for name in names:
        save_checkpoint(folder, {"work": "w", "name": name, "tensor": torch.arange(100.0)})


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path):
    assert load_checkpoint(tmp_path, "w") is None
    states(tmp_path, "one", "two", "three")
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEFORE, LAST]
    assert load_checkpoint(tmp_path, "w")["name"] == "three"
    (tmp_path / LAST).unlink()  # a stop between the two moves of `save_checkpoint`
    assert load_checkpoint(tmp_path, "w")["name"] == "two"
    assert load_checkpoint(tmp_path, "of other data or code") is None


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_named_set_aside_and_the_one_before_read(tmp_path, damage):
    states(tmp_path, "one", "two")
    bad = DAMAGE[damage]((tmp_path / LAST).read_bytes())
    (tmp_path / LAST).write_bytes(bad)
    told = []
    assert load_checkpoint(tmp_path, "w", told.append)["name"] == "one"
    [line] = told
    assert str(tmp_path / LAST) in line and "damaged" in line and "state.pt.damaged" in line
    assert (tmp_path / "state.pt.damaged").read_bytes() == bad and not (tmp_path / LAST).exists()
    states(tmp_path, "three")
    assert load_checkpoint(tmp_path, "w")["name"] == "three"


def test_two_damaged_ones_start_the_training_anew(tmp_path):
    states(tmp_path, "one", "two")
    for name in (LAST, BEFORE):
        (tmp_path / name).write_bytes(b"")
    told = []
    assert load_checkpoint(tmp_path, "w", told.append) is None
    assert len(told) == 2 and "starts anew" in told[1]


def test_pickled_objects_are_refused(tmp_path):
    content = io.BytesIO()
    torch.save({"work": "w", "model": pytest.approx(1)}, content)
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    (tmp_path / LAST).write_bytes(digest.encode() + b"\n" + content.getvalue())
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(tmp_path, "w")


def test_a_full_disk_is_named_and_leaves_both_as_they_were(tmp_path):
    """A limit on the size of files stands for the disk."""
    states(tmp_path, "one", "two")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code = (
        "import resource, signal, sys, torch; from pathlib import Path\n"
        "from pfml.training.checkpoint import save_checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "save_checkpoint(Path(sys.argv[1]), {'work': 'w', 'tensor': torch.zeros(5000)})"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert done.returncode and str(tmp_path / LAST) in last and "free some and run the same command again" in last
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# --- in a training


def killed_after(folder, epoch):
    process = start(folder)
    wait_for_epoch(process, epoch)
    process.kill()
    process.communicate()
    [place] = (folder / ".checkpoints").glob("*/state.pt")
    return place.parent


@pytest.mark.parametrize("damage", ["empty", "cut off", "a bit of the tensors"])
def test_a_run_with_a_damaged_checkpoint_ends_as_if_never_touched(workspace, damage):
    calm, rough = workspace("calm"), workspace("rough")
    finish(start(calm))
    place = killed_after(rough, 4)
    (place / LAST).write_bytes(DAMAGE[damage]((place / LAST).read_bytes()))
    out = finish(start(rough))
    assert f"{place / LAST}: damaged" in out and "goes on after epoch" in out
    assert outputs(calm) == outputs(rough)


def test_a_finished_run_that_dvc_has_not_stored_is_not_trained_again(workspace, monkeypatch):
    folder = workspace("a")
    finish(start(folder))
    whole = outputs(folder)
    shutil.rmtree(folder / "models")  # as DVC does before it runs a stage again
    out = finish(start(folder))
    assert "goes on after epoch 8" in out and "epoch   1/8" not in out
    assert outputs(folder) == whole

    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    run = read_run("glyphs-pfml-0.2-0")
    drop_checkpoint(run)
    assert list((folder / ".checkpoints").glob("*/*.pt")), "the files are in no cache yet"
    for path in (folder / "models").rglob("*"):
        if path.is_file():
            digest = md5(path)
            place = folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    drop_checkpoint(run)
    assert not list((folder / ".checkpoints").glob("*/*.pt"))


def test_a_checkpoint_in_use_is_not_dropped(workspace, monkeypatch):
    folder = workspace("a", steps=100)
    process = start(folder)
    wait_for_epoch(process, 1)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    drop_checkpoint(read_run("glyphs-pfml-0.2-0"))
    assert list((folder / ".checkpoints").glob("*/state.pt"))
    process.kill()
    process.communicate()


def test_a_full_disk_at_the_end_names_the_file_and_loses_no_epoch(workspace):
    """Room for the network, none for the embeddings."""
    calm, rough = workspace("calm"), workspace("rough")
    finish(start(calm))
    network = (calm / "models/grid/glyphs/pfml-0.2-0/model.safetensors").stat().st_size
    with small_disk(rough / "models", network // 1024 + 8):
        process = start(rough)
        _, err = process.communicate()
    [line] = err.splitlines()
    assert process.returncode == 1 and re.search(r"(embeddings.npz|loss.safetensors): No space left on device", line)
    assert "free some and run the same command again" in line
    out = finish(start(rough))
    assert "goes on after epoch 8" in out and outputs(calm) == outputs(rough)
