"""Features of a frozen trunk: made once, resumed after a stop, trained on, and used through `pfml.load`."""

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

import pfml
from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.settings.plan import read_plan
from pfml.settings.planning import planned_features
from pfml.settings.runs import find_run, grid_runs
from pfml.training import features
from pfml.training.batches.features import Features
from pfml.training.batches.run_data import load_run_data
from pfml.training.networks.model import build_model
from tests.conftest import ROOT, merge
from tests.pipeline.clones import STUDY
from tests.use.conftest import BIRDS, draw

RUN = "birds-pfml-0.0-0"
BACKBONE = "tf_efficientnet_lite0"


def project(folder: Path, **train) -> Path:
    """A folder with photographs, weights of a backbone, and params.yaml of a study with a trunk."""
    for name in ("src", "stages"):
        (folder / name).symlink_to(ROOT / name)
    for c in range(6):
        for i in range(10):
            draw(folder / f"photos/bird {c}/{i}.png", c, i)
    torch.manual_seed(1)
    torch.save(build_model(BACKBONE, 8).backbone.state_dict(), folder / "weights.pth")
    raw = merge(merge(yaml.safe_load((ROOT / "params.yaml").read_text()), STUDY), BIRDS)
    raw["recipe"]["birds"]["train"] |= {"views": 3, **train}
    raw["recipe"]["birds"]["model"] = {"backbone": BACKBONE, "weights": "weights.pth", "embedding_dim": 8}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return folder


def stages(folder: Path, *names: str) -> None:
    for name in names:
        arguments = {"plan": [], "noise": ["birds-0.0-0"], "train": [RUN], "evaluate": [RUN]}.get(name, ["birds"])
        done = subprocess.run(
            [sys.executable, f"stages/{name}.py", *arguments], cwd=folder, capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": "src"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module", params=["frozen", pytest.param("partial", marks=pytest.mark.long)])
def trained(request, tmp_path_factory):
    folder = project(tmp_path_factory.mktemp(request.param), trunk=request.param)
    stages(folder, "plan", "fetch", "split", "features", "noise", "train", "evaluate")
    return request.param, folder


def test_features_are_those_of_the_network(trained, monkeypatch):
    trunk, folder = trained
    monkeypatch.chdir(folder)
    meta = json.loads(Path("data/features/birds/meta.json").read_text())
    evaluation = np.load("data/features/birds/evaluation.npy")
    views = np.load("data/features/birds/training.npy")
    assert evaluation.dtype == views.dtype == np.float16 and meta["trunk"] == trunk
    assert evaluation.shape == (60, *meta["shape"]) and views.shape == (30, 3, *meta["shape"])
    assert len({views[0, view].tobytes() for view in range(3)}) == 3, "each view has another crop"
    saved = np.load("models/grid/birds/pfml-0.0-0/embeddings.npz")["test"]
    rows = pd.read_csv("data/noise/birds-0.0-0.csv")
    items = pd.read_csv("data/raw/birds/items.csv", dtype=str)
    model = pfml.load("models/grid/birds/pfml-0.0-0", "cpu")
    found = model.embed([Path("photos", items["class_name"][i], Path(items["name"][i]).name) for i in rows.item[30:]])
    expected = saved / np.linalg.norm(saved, axis=1, keepdims=True)
    assert np.abs(found - expected[[*range(30)]]).max() < 1e-3, "equal but for float16"


def test_a_run_trains_the_rest_alone(trained, monkeypatch):
    from safetensors.torch import load_file

    trunk, folder = trained
    monkeypatch.chdir(folder)
    state = load_file("models/grid/birds/pfml-0.0-0/model.safetensors")
    start = torch.load("weights.pth")
    of_backbone = {name.removeprefix("backbone."): value for name, value in state.items() if name[0] == "b"}
    assert bool(of_backbone) == (trunk == "partial") and len(of_backbone) < len(start)
    assert all("blocks.6." in name or not name.startswith("blocks") for name in of_backbone)
    if of_backbone:
        assert any(not torch.equal(value, start[name]) for name, value in of_backbone.items())
    result = json.loads(Path("reports/runs/tiny", f"{RUN}.json").read_text())
    assert result["backbone"] == f"{BACKBONE}+{trunk}", "a row of its own"


def test_a_head_alone_trains_without_its_backbone(tmp_path):
    """Whose import and weights take longer than a training on features."""
    folder = project(tmp_path, trunk="frozen")
    stages(folder, "plan", "fetch", "split", "features", "noise")
    (folder / "weights.pth").unlink()
    stage = f"import sys; sys.argv = ['train', {RUN!r}]; exec(open('stages/train.py').read())"
    code = f"{stage}; assert 'timm' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "src"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    stages(folder, "evaluate")  # W2 too embeds with the head alone
    assert not (folder / ".checkpoints/features-birds/progress.json").exists()


@pytest.mark.parametrize("method", ["diva", "drml_pa"])
def test_a_method_with_a_head_of_its_own_trains_on_features(trained, tmp_path, method, monkeypatch):
    trunk, folder = trained
    shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    raw = yaml.safe_load((tmp_path / "copy/params.yaml").read_text())
    raw["grid"] |= {"field": [], "baseline": [method]}
    raw["baseline"]["diva"]["loss"]["memory"] = 16
    (tmp_path / "copy/params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    stages(tmp_path / "copy", "plan")
    for name in ("train", "evaluate"):
        done = subprocess.run(
            [sys.executable, f"stages/{name}.py", f"birds-{method}-0.0-0"], cwd=tmp_path / "copy", text=True,
            capture_output=True, env={"PATH": os.environ["PATH"], "PYTHONPATH": "src"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / f"copy/reports/runs/tiny/birds-{method}-0.0-0.json").read_text())
    assert result["backbone"] == f"{BACKBONE}+{trunk}" and 0 <= result["recall@1"] <= 1
    monkeypatch.chdir(tmp_path / "copy")
    model = pfml.load(f"models/grid/birds/{method}-0.0-0", "cpu")
    assert model.embed(sorted((folder / "photos/bird 0").iterdir())).shape == (10, 8)


def test_a_terminated_stage_ends_between_two_batches(tmp_path):
    folder = project(tmp_path, trunk="frozen")
    stages(folder, "plan", "fetch", "split")
    slow = "import pfml.training.features as f, sys, os, signal; f.BETWEEN = 0.0; f.AT_ONCE = 64 * 64; "
    stop = "f.write_whole = lambda *a: (write(*a), os.kill(os.getpid(), signal.SIGTERM)); sys.argv = ['', 'birds']; "
    code = f"{slow}write = f.write_whole; {stop}exec(open('stages/features.py').read())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "src"},
    )  # fmt: skip
    assert done.returncode == 130 and "batch 1 of" in done.stdout, done.stderr[-3000:]
    assert not (folder / "data/features/birds").exists()
    assert [path.read_text() for path in folder.glob(".checkpoints/features-birds/*/progress.json")] == ["1"]


def test_a_stopped_stage_goes_on_and_ends_alike(trained, tmp_path, monkeypatch):
    _, folder = trained
    monkeypatch.chdir(folder)
    monkeypatch.setattr(features, "AT_ONCE", 7 * 64 * 64)
    monkeypatch.setattr(features, "BETWEEN", 0.0)
    plan, told = read_plan("features/birds"), []

    def write(name: str, stop_at: int) -> Path:
        def tell(line: str) -> None:
            told.append(line)
            if f"batch {stop_at} of" in line:
                raise KeyboardInterrupt

        features.write_features(plan, "birds", tmp_path / name, tmp_path / f"{name}-working", tell=tell)
        return tmp_path / name

    whole = write("whole", -1)
    assert f"batch {9 + 3 * 5} of {9 + 3 * 5}, 0 s left" in told[-1]
    for stop_at in (4, 12, 20):  # in the evaluation, in the first and in the third view
        with pytest.raises(KeyboardInterrupt):
            write("stopped", stop_at)
        assert not (tmp_path / "stopped").exists()
        with pytest.raises(ValueError, match="expected finished features"):
            Features(tmp_path / "stopped", np.arange(3))
    told.clear()
    write("stopped", -1)
    assert "batch 21 of 24" in told[0], "what was finished is not computed again"
    for name in ("evaluation.npy", "training.npy", "items.npy", "meta.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (whole / name).read_bytes(), name
    shutil.copy(whole / "meta.json", tmp_path / "before.json")
    features.write_features(plan | {"seed": 1}, "birds", whole, tmp_path / "whole-working")
    assert (whole / "meta.json").read_bytes() != (tmp_path / "before.json").read_bytes(), "other views, other digests"


def test_batches_depend_on_seed_epoch_and_step_alone(trained, monkeypatch):
    _, folder = trained
    monkeypatch.chdir(folder)
    pictures = Features(Path("data/features/birds"), np.arange(30))
    batches = [torch.arange(8), torch.arange(8, 16), torch.arange(4)]
    whole = [images for _, images in pictures.training(batches, 0, 1)]
    later = [images for _, images in pictures.training(batches[1:], 0, 1, start=1)]
    assert all(torch.equal(a, b) for a, b in zip(whole[1:], later))
    halves = [list(pictures.training(batches, 0, 1, part=(i, 2))) for i in range(2)]
    assert torch.equal(torch.cat([halves[0][0][1], halves[1][0][1]]), whole[0])
    other = [images for _, images in pictures.training(batches, 0, 2)]
    assert not torch.equal(other[0], whole[0])
    assert torch.equal(torch.cat([*pictures.evaluation(7)]), torch.cat([*pictures.part((0, 1)).evaluation(30)]))


def test_a_trunk_changes_the_digest_and_fine_tuning_does_not(trained, tmp_path, monkeypatch):
    trunk, folder = trained
    monkeypatch.chdir(folder)
    run = find_run(grid_runs(load_params()), RUN)
    assert run.config["train"]["trunk"] == trunk and "views" in run.config["train"]
    assert ("trained_stages" in run.config["train"]) == (trunk == "partial")
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["recipe"]["birds"]["train"]["trunk"] = "fine_tune"
    digests = set()
    for views in (3, 5):
        raw["recipe"]["birds"]["train"]["views"] = views
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
        whole = find_run(grid_runs(load_params(tmp_path / "params.yaml")), RUN)
        assert not {"trunk", "views", "trained_stages"} & whole.config["train"].keys()
        digests.add(whole.digest)
    assert len(digests) == 1 and run.digest not in digests
    assert planned_features(load_params(tmp_path / "params.yaml"), "birds") == {"trunk": "fine_tune"}


def test_settings_that_do_not_go_together_are_named(trained, tmp_path, monkeypatch):
    _, folder = trained
    monkeypatch.chdir(folder)
    good = yaml.safe_load(Path("params.yaml").read_text())
    for change, words in (
        ({"model": {"weights": None}}, "recipe.birds.model.weights: train.trunk"),
        ({"model": {"head": "none"}, "train": {"trunk": "fine_tune"}}, "recipe.birds.model.head: none"),
    ):
        raw = merge(good, {"recipe": {"birds": change}})
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
        with pytest.raises(ConfigError, match=words):
            load_params(tmp_path / "params.yaml")


def test_missing_features_are_named(trained, monkeypatch, tmp_path):
    _, folder = trained
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, symlinks=True)
    shutil.rmtree(copy / "data/features")
    monkeypatch.chdir(copy)
    with pytest.raises(ValueError, match="data/features/birds: expected finished features"):
        load_run_data(find_run(grid_runs(load_params()), RUN))
