"""A trained network embeds images as the pipeline measured them, from Python and from the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import pfml
from pfml import cli
from pfml.settings import ConfigError
from pfml.use.find import find_folder
from tests.conftest import ROOT
from tests.use.conftest import NETWORK, RUN, draw


@pytest.fixture
def model(birds):
    return pfml.load(birds / NETWORK)


def measured(birds) -> tuple[list[str], np.ndarray]:
    """Paths of the test images, and their embeddings as the pipeline saved them, of unit length."""
    items = pd.read_csv(birds / "data/raw/birds/items.csv")
    labels = pd.read_csv(birds / "data/noise/birds-0.0-0.csv")
    rows = labels[labels["split"] == "test"]["item"].to_numpy()
    saved = np.load(birds / NETWORK / "embeddings.npz")["test"]
    paths = [str(birds / "photos" / name) for name in items["name"].to_numpy()[rows]]
    return paths, saved / np.linalg.norm(saved, axis=1, keepdims=True)


def command(birds, *arguments: str):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-m", "pfml", *arguments], cwd=birds, env=environment, capture_output=True, text=True
    )


def test_embeddings_are_those_that_were_measured(birds, model):
    paths, saved = measured(birds)
    found = model.embed(paths)
    assert found.dtype == np.float32 and found.shape == saved.shape and len(found) == 30
    np.testing.assert_allclose(found, saved, atol=2e-6)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)


def test_paths_pictures_folders_and_batches_give_the_same(birds, model):
    folder = birds / "photos/bird 5"
    paths = sorted(folder.iterdir())
    told = []
    whole = model.embed(folder, batch=3, progress=lambda done, count: told.append((done, count)))
    assert told == [(3, 10), (6, 10), (9, 10), (10, 10)]
    np.testing.assert_allclose(model.embed([Image.open(path) for path in paths]), whole, atol=2e-6)
    np.testing.assert_allclose(model.embed(paths[2])[0], whole[2], atol=2e-6)
    assert model.embed([]).shape == (0, model.embedding_dim)


def test_the_network_stays_in_evaluation_mode(birds, model):
    before = model.embed(birds / "photos/bird 1")
    model.train()
    np.testing.assert_array_equal(model.embed(birds / "photos/bird 1"), before)
    inputs = torch.stack([model.preprocess(birds / "photos/bird 1/0.jpg")] * 2)
    assert inputs.shape == (2, 3, 64, 64) and torch.equal(*model(inputs)) and not model.training


def test_a_run_is_found_by_its_names(birds, monkeypatch):
    monkeypatch.chdir(birds)
    by_name = pfml.load(RUN)
    assert pfml.load(by_name.record["digest"]).digest == by_name.digest == pfml.load(f"{NETWORK}/").digest
    assert by_name.digest == by_name.record["weights"]
    with pytest.raises(ConfigError, match=r"near: birds-pfml-0\.0-0"):
        pfml.load("birds-pfml-0.0-3")
    monkeypatch.chdir(birds / "photos")
    with pytest.raises(ConfigError, match="project's root"):
        pfml.load(RUN)


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_the_command_writes_paths_and_embeddings(birds, model, tmp_path, kind):
    out = tmp_path / f"found.{kind}"
    place, run = (birds, RUN) if kind == "npz" else (tmp_path, str(birds / NETWORK))  # a folder is found from anywhere
    (tmp_path / "photos").symlink_to(birds / "photos")
    done = command(place, "embed", "photos/bird 2", "photos/bird 0/1.png", "--run", run, "--out", str(out))
    assert done.returncode == 0 and "11 images" in done.stdout and model.digest in done.stdout, done.stderr
    if kind == "npz":
        found = np.load(out)
        paths, embeddings, digest = list(found["paths"]), found["embeddings"], str(found["weights"])
    else:
        frame = pd.read_parquet(out)
        paths, embeddings, digest = list(frame["path"]), np.stack(frame["embedding"]), frame["weights"][0]
    assert paths[0] == "photos/bird 2/0.jpg" and paths[-1] == "photos/bird 0/1.png" and digest == model.digest
    np.testing.assert_allclose(embeddings, model.embed([birds / path for path in paths]), atol=2e-6)


def test_bad_input_is_one_line_and_nothing_is_written(birds, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    monkeypatch.chdir(birds)
    for images, out, more, expected in (
        (tmp_path / "empty", "a.npz", (), "expected image files"), (tmp_path / "broken.png", "a.npz", (), "broken.png"),
        (tmp_path / "nowhere", "a.npz", (), "no such file or folder"), ("photos", "a.csv", (), ".npz or .parquet"),
        ("photos", "a.npz", ("--batch", "0"), "batch: expected 1 or more"),
        ("photos/bird 0", "broken.png/a.npz", (), "broken.png"),  # a file where a folder would be
    ):  # fmt: skip
        assert cli.main(["embed", str(images), "--run", RUN, "--out", str(tmp_path / out), *more]) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1
        assert not list(tmp_path.glob("a.*"))


def test_a_network_that_is_not_whole_is_refused(birds, tmp_path):
    folder = tmp_path / "network"
    shutil.copytree(birds / NETWORK, folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors: missing"):
        pfml.load(folder)
    shutil.copy(folder / "loss.safetensors", folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"not the network of run\.json"):
        pfml.load(folder)


def test_a_network_of_one_size_wants_images_of_one_size(birds, model, tmp_path):
    from pfml.training.batches.transforms import TRANSFORMS
    from pfml.use.model import EmbeddingModel

    network = EmbeddingModel(model.network, TRANSFORMS["shift"], model.record)
    pictures = [draw(tmp_path / f"{i}.png", 0, i) for i in (0, 1)]
    with pytest.raises(ValueError, match="expected one size"):
        network.embed(pictures)
    assert network.embed(pictures[:1]).shape == (1, model.embedding_dim)


def test_a_run_that_studies_share_is_found_where_its_network_is(birds, tmp_path, monkeypatch):
    project = tmp_path / "project"
    shutil.copytree(birds, project, symlinks=True)
    (project / "presets").mkdir()
    (project / "presets/mine.yaml").write_text("# Mine\nstudy: mine\n")
    monkeypatch.chdir(project)
    monkeypatch.setenv("DVC_ROOT", str(project))
    (project / ".studies/mine").mkdir(parents=True)
    shutil.move("models", ".studies/mine/models")
    digest = json.loads(Path(".studies/mine", NETWORK, "run.json").read_text())["digest"]
    for name in (RUN, digest, f"mine/{RUN}"):
        assert find_folder(name) == Path(".studies/mine", NETWORK), name
    with pytest.raises(ConfigError, match="its network is not here"):
        find_folder(f"tiny/{RUN}")


@pytest.mark.parametrize("method", ["diva", "drml_pa"])
def test_a_network_with_the_head_of_its_method_embeds_as_it_was_measured(birds, tmp_path, method):
    project = tmp_path / "project"
    shutil.copytree(birds, project, symlinks=True, ignore=shutil.ignore_patterns("models"))
    params = project / "params.yaml"
    raw = yaml.safe_load(params.read_text())
    raw["grid"] |= {"field": [], "baseline": [method]}
    raw["baseline"]["diva"]["loss"]["memory"] = 16
    params.write_text(yaml.safe_dump(raw, sort_keys=False))
    for stage in (["plan"], ["train", f"birds-{method}-0.0-0"]):
        done = subprocess.run(
            [sys.executable, f"stages/{stage[0]}.py", *stage[1:]], cwd=project, capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": "src"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    network = project / f"models/grid/birds/{method}-0.0-0"
    saved = np.load(network / "embeddings.npz")["test"]
    found = pfml.load(network).embed(measured(birds)[0])
    np.testing.assert_allclose(found, saved / np.linalg.norm(saved, axis=1, keepdims=True), atol=2e-6)
