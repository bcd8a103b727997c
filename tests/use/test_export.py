"""A trained network exported for other programs: each format gives the embeddings of the original."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import pfml
from pfml.settings import ConfigError
from pfml.training.batches.transforms import TRANSFORMS
from pfml.training.networks.model import build_model
from pfml.use.export import export, input_size, to_onnx, to_torch_export
from pfml.use.model import EmbeddingModel
from tests.conftest import ROOT
from tests.use.conftest import NETWORK, RUN


def run_export(folder, kind, out, run=RUN):
    command = [sys.executable, "-m", "pfml", "export", "--run", run, "--format", kind, "--out", str(out)]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def by_the_steps(picture, told) -> np.ndarray:
    """(1, 3, h, w) float32, by preprocessing.json alone."""
    image = Image.open(picture).convert("RGB")
    short = min(image.size)
    size = [side * told["resize"] // short for side in image.size]
    image = image.resize(size, {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}[told["interpolation"]])
    left, top = (round((side - told["crop"]) / 2) for side in image.size)
    values = np.asarray(image.crop((left, top, left + told["crop"], top + told["crop"])), np.float64)
    assert told["channels"] == "RGB"
    return ((values / told["divide_by"] - told["mean"]) / told["std"]).transpose(2, 0, 1)[None].astype(np.float32)


@pytest.mark.parametrize("kind", ["safetensors", "onnx", "torch.export"])
def test_an_exported_network_embeds_as_the_original(kind, birds, tmp_path):
    out = tmp_path / "bird network"
    done = run_export(birds, kind, out)
    assert done.returncode == 0, done.stderr
    files = {"safetensors": {"model.safetensors", "run.json"}, "onnx": {"model.onnx"}, "torch.export": {"model.pt2"}}
    assert {path.name for path in out.iterdir()} == files[kind] | {"preprocessing.json", "README.md"}
    picture = birds / "photos/bird 2/3.png"
    expected = pfml.load(birds / NETWORK, "cpu").embed(picture)
    told = json.loads((out / "preprocessing.json").read_text())
    assert told["output"]["shape"] == ["batch", expected.shape[1]]
    if kind == "safetensors":
        assert np.array_equal(pfml.load(out, "cpu").embed(picture), expected)
        return
    assert "largest difference from torch" in done.stdout
    inputs = by_the_steps(picture, told)
    if kind == "onnx":
        session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
        [found] = session.run([told["output"]["name"]], {told["input"]["name"]: inputs})
    else:
        found = torch.export.load(out / "model.pt2").module()(torch.from_numpy(inputs)).numpy()
    assert np.abs(found - expected).max() < 1e-4 and np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_the_card_says_what_the_network_is(birds, tmp_path):
    run_export(birds, "safetensors", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    facts = (RUN, "Dataset `birds`", "60 images of 6 classes", "proxies_per_class", "trained from nothing")
    for fact in (*facts, pfml.load(birds / NETWORK).digest, "Licence of the images: not", "No result on record"):
        assert fact in card, fact


def test_an_export_is_whole_or_not_there(birds, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    done = run_export(birds, "onnx", tmp_path / "mine")
    assert done.returncode == 2 and "mine: exists; expected a folder that is not there yet" in done.stderr
    done = run_export(birds, "onnx", tmp_path / "x", run="birds-pfml-0.0-7")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and f"near: {RUN}" in done.stderr
    with pytest.raises(ConfigError, match="expected one of safetensors, onnx"):
        export(pfml.load(birds / NETWORK), birds / NETWORK, tmp_path / "x", "tflite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def network_of(backbone: str, transform: str, dim: int = 8) -> EmbeddingModel:
    torch.manual_seed(0)
    record = {"config": {"dataset": "glyphs", "model": {"embedding_dim": dim}}, "weights": "0" * 16}
    return EmbeddingModel(build_model(backbone, dim), TRANSFORMS[transform], record)


def test_a_network_that_takes_images_as_they_are_is_exported_for_their_size(tmp_path, monkeypatch):
    model = network_of("conv3", "shift")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"glyphs: .* size is not known where data/raw/glyphs is not; .*--side"):
        input_size(model, None)
    assert input_size(model, 40) == (40, 40)
    Path("data/raw/glyphs").mkdir(parents=True)
    np.save("data/raw/glyphs/images.npy", np.zeros((2, 28, 36), np.uint8))
    model = network_of("conv3", "shift")
    assert input_size(model, None) == (28, 36)
    with pytest.raises(ValueError, match=r"image: 36 x 30 pixels; this network takes images as they are .*36 x 28"):
        model.embed(Image.new("RGB", (36, 30)))
    assert model.embed(Image.new("RGB", (36, 28))).shape == (1, 8)
    assert to_onnx(model, tmp_path, 28, 36) < 1e-5 and to_torch_export(model, tmp_path, 28, 36) < 1e-5
    images = torch.randn(3, 3, 28, 36)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(images).numpy()
    assert np.abs(session.run(None, {"images": images.numpy()})[0] - expected).max() < 1e-5
    with pytest.raises(ConfigError, match="--side 224: expected nothing, or the size"):
        input_size(network_of("conv3", "small"), 224)


@pytest.mark.long
@pytest.mark.parametrize(
    "backbone, transform",
    [("resnet50", "proxy_anchor"), ("bn_inception", "bn_inception"), ("vit_small_patch16_224", "vit"),
     ("tf_efficientnet_lite0", "proxy_anchor")],
)  # fmt: skip
def test_networks_for_photographs_are_exported(backbone, transform, tmp_path):
    model = network_of(backbone, transform, 64)
    size = input_size(model, None)
    assert to_onnx(model, tmp_path, *size) < 1e-4 and to_torch_export(model, tmp_path, *size) < 1e-4
