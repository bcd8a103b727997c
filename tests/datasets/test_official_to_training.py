"""Archives in the official layouts, from a faulty local server through the stages to a trained run."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pfml.datasets import catalogue
from pfml.datasets.download import Source
from pfml.images.packed import open_images
from pfml.settings import schema
from pfml.settings.plan import read_run
from pfml.settings.presets import read_preset
from pfml.training.networks.model import build_model
from tests.conftest import ROOT, merge
from tests.datasets import official
from tests.datasets.http_faults import faulty_server
from tests.datasets.stages import one_epoch

CLASSES, EACH = 8, 6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """name: files of its official form, by their names there."""
    folder = tmp_path_factory.mktemp("made")
    cars, annotations = official.cars_files(4, 12)
    sizes = {"train": CLASSES // 2, "test": CLASSES // 2, "per_class": EACH}
    drawings = {"images_background": ({"Greek": 4}, EACH, 0), "images_evaluation": ({"Sylheti": 4}, EACH, 100)}
    return {
        "cub200": {
            "CUB_200_2011.tgz": official.write_tgz(folder / "a", official.cub_files(CLASSES, EACH)).read_bytes()
        },
        "cars196": {
            "cars_annos.mat": annotations,
            "car_ims.tgz": official.write_tgz(folder / "a", cars).read_bytes(),
        },
        "sop": {
            "Stanford_Online_Products.zip": official.write_zip(folder / "a", official.sop_files(**sizes)).read_bytes()
        },
        "omniglot": {
            f"{root}.zip": official.write_zip(folder / "a", official.omniglot_files(root, *what)).read_bytes()
            for root, what in drawings.items()
        },
    }


@pytest.fixture
def server():
    with faulty_server() as server:
        yield server


@pytest.fixture
def served(server, made, monkeypatch):
    """The catalogue's entry with its own layout and file names, the addresses and counts of what the server has. The
    first mirror of every file is dead.
    """

    def _served(name: str, classes: int = CLASSES, each: int = EACH, **changes):
        entry, files = catalogue.CATALOGUE[name], []
        for source, *_ in entry.forms[0].files:
            content = made[name][source.file]
            server.files[f"/{source.file}"] = content
            md5 = hashlib.md5(content).hexdigest()
            urls = (f"{server.url}/gone/{source.file}", f"{server.url}/{source.file}")
            files.append(tuple(Source(url, source.file, md5=md5, bytes=len(content)) for url in urls))
        half = classes // 2
        counts = {"classes": classes, "train_classes": half, "train_images": half * each, "test_images": half * each}
        small = replace(entry, forms=(replace(entry.forms[0], files=tuple(files)),), **counts | changes)
        monkeypatch.setitem(catalogue.CATALOGUE, name, small)
        monkeypatch.setitem(catalogue.DATASETS, name, small)
        monkeypatch.setitem(schema.DATASETS, name, small.train_classes)

    return _served


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("name", ["cub200", "cars196", "sop", "omniglot"])
def test_from_the_archive_to_a_trained_run(raw, write, stages, server, served, name, mode):
    served(name, *((4, 12) if name == "cars196" else ()))
    write(one_epoch(raw, name), Path.cwd())
    raw["dataset"][name] |= {"pack": mode, "short_side": 72}
    write(raw, Path.cwd())
    first = next(iter(server.files))
    server.plan[first] = [{"cut": 300}]  # the connection drops, then the transfer goes on
    said = stages.all(name)
    assert "48 images of" in said and "errors: none" in said
    assert server.statuses(first) == [200, 206] and server.statuses(f"/gone{first}") == [404]

    raws = {path.name for path in Path("data/raw", name).iterdir()}
    assert raws == {"items.csv", "meta.json", "index.npy", "images.bin" if mode == "exact" else "pixels.bin"}
    assert [path.name for path in Path("data/raw").iterdir()] == [name]  # nothing half-made is left
    assert {p.suffix for p in Path("data/downloads", name).iterdir()} <= {".tgz", ".zip", ".mat"}
    split = pd.read_csv(f"data/split/{name}.csv")
    halves = split.groupby("split")["class_id"].agg(lambda ids: sorted(set(ids)))
    assert halves["train"] == list(range(len(halves["train"]))) and min(halves["test"]) == len(halves["train"])
    assert split["sha256"].nunique() == len(split) == 48 and set(split["fold"]) == {-1, 0, 1}
    noise = pd.read_csv(f"data/noise/{name}-0.2-0.csv")
    assert noise["corrupted"].sum() == round(0.2 * 24)
    classes = pd.read_csv(f"data/noise/{name}-0.2-0-classes.csv")
    assert classes["moved_out"].sum() == classes["moved_in"].sum() == round(0.2 * 24)
    saved = np.load(f"models/grid/{name}/pfml-0.2-0/embeddings.npz")
    assert saved["test"].shape == (24, 64) and np.isfinite(saved["test"]).all()
    result = json.loads(Path(f"reports/runs/stages/{name}-pfml-0.2-0.json").read_text())
    assert 0 <= result["recall@1"] <= 1 and result["dataset"] == name and result["epochs"] == 1


@pytest.mark.parametrize("name", ["cub200", "sop"])
def test_the_presets_of_frozen_trunks_run_on_the_official_layout(raw, write, stages, served, monkeypatch, name):
    """Their own recipes and rows, but random weights, small batches and one epoch."""
    served(name)
    monkeypatch.setattr("pfml.settings.presets.FOLDER", ROOT / "presets")
    train = {"epochs": 1, "eval_every": 1, "batch": 4, "images_per_class": 2}
    params = merge(merge(raw, read_preset(f"{name}-frozen")), {
        "grid": {"noise": [0.0], "seed": [0]}, "ablation": {"points": []}, "tracking": {"enabled": False},
        "split": {"validation_classes": 1, "folds": 2},
        "recipe": {name: {"model": {"weights": "weights.pth"}, "train": train}},
    })  # fmt: skip
    torch.save(build_model("tf_efficientnet_lite2", 8).backbone.state_dict(), "weights.pth")
    write(params, Path.cwd())
    for stage in ("fetch", "split", "features"):
        code, said = stages(stage, name)
        assert code == 0, said
    views = params["recipe"][name]["train"]["views"]
    assert np.load(f"data/features/{name}/training.npy", mmap_mode="r").shape == (24, views, 1280, 1, 1)
    assert stages("noise", f"{name}-0.0-0")[0] == 0
    for method in ("pfml", "proxy_anchor", "zero_shot"):
        run = f"{name}-{method}-0.0-0"
        for stage in ("train", "evaluate"):
            code, said = stages(stage, run)
            assert code == 0, said
        result = json.loads(Path(f"reports/runs/{name}-frozen/{run}.json").read_text())
        assert result["backbone"] == "tf_efficientnet_lite2+frozen"
        assert result["dim"] == {"zero_shot": 1280}.get(method, 512)
        assert read_run(run).loss.get("proxies_per_class") == {"pfml": {"sop": 1}.get(name, 15)}.get(method)


def test_both_modes_hold_the_same_pictures_in_the_same_order(raw, write, stages, server, served):
    served("cub200")
    digests = []
    for mode in ("exact", "fast"):
        raw["dataset"]["cub200"] |= {"pack": mode, "short_side": 64}
        write(one_epoch(raw, "cub200"), Path.cwd())
        assert stages("fetch", "cub200")[0] == 0
        images = open_images("data/raw/cub200")
        digests.append((images.meta["digest"], [images[i].mean().round() for i in range(len(images))]))
    assert digests[0][0] == digests[1][0]
    assert np.abs(np.subtract(digests[0][1], digests[1][1])).max() <= 2  # 8 to 10 rows became 64


FAULTS = {
    "every address is dead": (lambda server, file: server.files.clear(), ["HTTP 404", "data/manual/CUB_200_2011.tgz"]),
    "another file": (
        lambda server, file: server.files.update({file: b"<html>moved</html>"}),
        ["md5 found", "expected"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fetch_that_fails_says_what_to_do_and_leaves_no_half_dataset(raw, write, stages, server, served, fault):
    served("cub200")
    write(one_epoch(raw, "cub200"), Path.cwd())
    spoil, words = FAULTS[fault]
    spoil(server, "/CUB_200_2011.tgz")
    code, said = stages("fetch", "cub200")
    assert code == 1 and "error: cub200" in said and "Traceback" not in said
    assert all(word in said for word in words)
    assert not Path("data/raw").exists() or not list(Path("data/raw").iterdir())
    assert not list(Path("data/downloads/cub200").iterdir())


def test_the_same_command_succeeds_once_the_file_lies_in_data_manual(raw, write, stages, server, served, made):
    served("cub200")
    server.files.clear()
    write(one_epoch(raw, "cub200"), Path.cwd())
    assert stages("fetch", "cub200")[0] == 1
    Path("data/manual").mkdir(parents=True)
    Path("data/manual/CUB_200_2011.tgz").write_bytes(made["cub200"]["CUB_200_2011.tgz"])
    assert stages("fetch", "cub200")[0] == 0
    assert len(open_images("data/raw/cub200")) == 48


def test_wrong_counts_leave_no_dataset(raw, write, stages, server, served):
    served("cub200", test_images=25)
    write(one_epoch(raw, "cub200"), Path.cwd())
    code, said = stages("fetch", "cub200")
    assert code == 1 and "found 24 + 24 images" in said and "expected 24 + 25 images" in said
    assert not Path("data/raw/cub200").exists()


def test_a_picture_in_both_halves_stops_the_split(raw, write, stages, server, served, made):
    files = official.cub_files(CLASSES, EACH)
    one, other = (
        f"CUB_200_2011/images/00{c + 1}.Bird_{'ABCDEFGH'[c]}/Bird_{'ABCDEFGH'[c]}_0000_10{c}.jpg" for c in (0, 7)
    )
    files[other] = files[one]
    made["cub200"]["CUB_200_2011.tgz"], before = (
        official.write_tgz(Path("twice.tgz"), files).read_bytes(),
        made["cub200"]["CUB_200_2011.tgz"],
    )
    served("cub200")
    made["cub200"]["CUB_200_2011.tgz"] = before
    write(one_epoch(raw, "cub200"), Path.cwd())
    assert stages("fetch", "cub200")[0] == 0
    code, said = stages("split", "cub200")
    assert code == 1 and "train and test share 1 image" in said and f"names {one} (train) and {other} (test)" in said
    assert not Path("data/split/cub200.csv").exists()
