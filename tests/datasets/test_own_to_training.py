"""Images of your own, as a folder and as a CSV, through the stages to a trained run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pfml.images.packed import open_images
from tests.conftest import ROOT
from tests.datasets.http_faults import wait_until
from tests.datasets.pictures import encoded
from tests.datasets.stages import one_epoch

KINDS = [("png", "RGB"), ("jpg", "L"), ("jpg", "CMYK"), ("png", "P"), ("webp", "RGB")]


@pytest.fixture
def birds(tmp_path):
    """Five classes of six images each, of many kinds, and a text file."""
    folder = tmp_path / "birds"
    for c, name in enumerate(["kite", "owl", "wren", "007", "NA"]):
        (folder / name).mkdir(parents=True)
        for i in range(6):
            pixels = np.random.default_rng(10 * c + i).integers(0, 256, (20 + i, 30 + c, 3), np.uint8)
            extension, mode = KINDS[(c + i) % len(KINDS)]
            data = encoded(Image.fromarray(pixels).convert(mode), extension.replace("jpg", "jpeg"))
            (folder / name / f"{i}.{extension}").write_bytes(data)
    (folder / "owl/notes.txt").write_text("seen in May")
    return folder


def own(raw, kind, path, **settings):
    raw["dataset"]["birds"] = {"kind": kind, "path": str(path), **settings}
    return one_epoch(raw, "birds")


def test_a_folder(raw, write, stages, birds):
    write(own(raw, "folder", birds), Path.cwd())
    with pytest.warns(UserWarning, match=r"ignored 1 files that are no images by name: \.txt 1"):
        said = stages.all("birds")
    assert "30 images of 5 classes" in said
    split = pd.read_csv("data/split/birds.csv", dtype={"class_name": str}, na_filter=False)
    halves = split.groupby("split")["class_name"].agg(lambda names: list(dict.fromkeys(names)))
    assert halves["train"] == ["007", "NA"] and halves["test"] == ["kite", "owl", "wren"]  # half of 5, rounded down
    classes = pd.read_csv("data/noise/birds-0.2-0-classes.csv", dtype={"class_name": str}, na_filter=False)
    assert classes["class_name"].tolist() == ["007", "NA"]
    meta = json.loads(Path("data/raw/birds/meta.json").read_text())
    assert meta["source"] == "your own (folder)" and str(birds) not in json.dumps(meta)


def test_a_csv_with_halves_of_its_own_relative_to_the_project(raw, write, stages, birds):
    rows = [(f"{p.parent.name}/{p.name}", p.parent.name, "test" if p.parent.name in ("owl", "007") else "train")
            for p in sorted(birds.glob("*/*")) if p.suffix != ".txt"]  # fmt: skip
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(birds / "list.csv", index=False)
    write(own(raw, "csv", "../birds/list.csv"), Path.cwd())
    said = stages.all("birds")
    assert "train classes 3" in said and "test classes 2" in said
    split = pd.read_csv("data/split/birds.csv", dtype={"class_name": str}, na_filter=False)
    assert set(split.loc[split["split"] == "test", "class_name"]) == {"owl", "007"}


def test_unreadable_files_stop_by_name_or_are_left_out_with_a_count(raw, write, stages, birds):
    (birds / "wren/3.jpg").unlink(missing_ok=True)
    (birds / "wren/broken.jpg").write_bytes(b"no picture")
    raw = own(raw, "folder", birds, train_classes=3)
    write(raw, Path.cwd())
    code, said = stages("fetch", "birds")
    assert code == 1 and "wren/broken.jpg" in said and "1 of" in said and not Path("data/raw/birds").exists()
    raw["dataset"]["birds"]["skip_unreadable"] = True
    write(raw, Path.cwd())
    code, said = stages("fetch", "birds")
    assert code == 0 and "left out 1 unreadable images" in said
    assert "wren/broken.jpg" in open_images("data/raw/birds").meta["skipped"]


@pytest.mark.parametrize(
    "kind, path, settings, words",
    [
        ("folder", "absent", {}, ["absent: expected a folder with one folder a class"]),
        ("folder", "birds", {"train_classes": 5}, ["dataset.birds.train_classes: expected 1 to 4", "found 5"]),
        ("folder", "one", {}, ["dataset.birds.path: expected at least two classes", "found 1"]),
        ("csv", "birds", {}, ["birds: cannot be read", "expected a CSV"]),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(raw, write, stages, birds, tmp_path, kind, path, settings, words):
    (tmp_path / "one").mkdir()
    shutil.copytree(birds / "owl", tmp_path / "one/owl")
    write(own(raw, kind, tmp_path / path, **settings), Path.cwd())
    code, said = stages("fetch", "birds")
    assert code == 1 and all(word in said for word in words) and "Traceback" not in said
    assert not Path("data/raw/birds").exists()


def test_the_transform_of_the_default_dataset_is_refused_for_images_of_many_sizes(raw, write, stages, birds):
    raw = own(raw, "folder", birds)
    raw["recipe"]["birds"]["train"]["transform"] = "shift"
    write(raw, Path.cwd())
    code, said = stages("fetch", "birds")  # before anything is packed
    assert (
        code == 2
        and "train.transform: birds has images of many sizes; expected small, small_characters, proxy_anchor" in said
    )
    assert "recipe.birds.train.transform" in said and not Path("data").exists()
    raw["recipe"]["birds"]["train"]["transform"] = "proxy_anchor"
    raw["dataset"]["birds"] |= {"pack": "fast", "short_side": 200}
    write(raw, Path.cwd())
    code, said = stages("fetch", "birds")
    assert code == 2 and "dataset.birds.short_side: expected at least the 224 pixels" in said and "found 200" in said


def test_too_few_classes_for_a_batch_are_told_at_training(raw, write, stages, birds):
    write(own(raw, "folder", birds, train_classes=1), Path.cwd())
    raw["split"] |= {"validation_classes": 0, "folds": 0}
    raw["recipe"]["birds"]["train"]["sampler"] = "balanced"
    raw["grid"]["noise"] = [0.0]
    write(raw, Path.cwd())
    for name, *arguments in (("fetch", "birds"), ("split", "birds"), ("noise", "birds-0.0-0")):
        assert stages(name, *arguments)[0] == 0
    code, said = stages("train", "birds-pfml-0.0-0")
    assert code == 1 and "needs 2 classes" in said and "has 1 classes" in said


def test_a_result_is_not_written_for_labels_that_the_run_did_not_see(raw, write, stages, birds):
    write(own(raw, "folder", birds), Path.cwd())
    stages.all("birds")
    manifest = Path("data/noise/birds-0.2-0.csv")
    text = manifest.read_text()
    manifest.write_text(text.replace("True", "False"))
    code, said = stages("evaluate", "birds-pfml-0.2-0")
    assert code == 1 and "on its images and labels" in said and "run dvc repro" in said
    manifest.write_text(text)
    raw["noise"]["neighbours"] = 2  # which no labels depend on here
    raw["noise"]["kind"] = "uniform"
    write(raw, Path.cwd())
    assert stages("evaluate", "birds-pfml-0.2-0")[0] == 0


def test_a_dataset_of_your_own_can_hold_out_fewer_classes_than_the_others(raw, write, stages, birds):
    raw = own(raw, "folder", birds, train_classes=3, validation_classes=2)
    raw["split"]["validation_classes"] = 20
    write(raw, Path.cwd())
    stages("fetch", "birds")
    assert stages("split", "birds")[0] == 0
    split = pd.read_csv("data/split/birds.csv", na_filter=False)
    assert split.loc[split["validation"], "class_id"].nunique() == 2
    raw["dataset"]["birds"]["validation_classes"] = 3
    write(raw, Path.cwd())
    code, said = stages("split", "birds")
    assert code == 1 and "validation_classes (of split, or of your dataset): expected 0 to 2" in said


def test_a_fetch_that_is_terminated_leaves_nothing_half_made(raw, write, stages, tmp_path):
    folder = tmp_path / "many"
    picture = encoded(Image.new("RGB", (900, 900), "red"))
    for i in range(600):
        (folder / f"class {i % 2}").mkdir(parents=True, exist_ok=True)
        (folder / f"class {i % 2}/{i}.png").write_bytes(picture)
    write(own(raw, "folder", folder), Path.cwd())
    assert stages("plan")[0] == 0
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen([sys.executable, ROOT / "stages/fetch.py", "birds"], env=environment)
    wait_until(Path("data/raw/.birds.unfinished/items.csv").exists)
    process.terminate()
    assert process.wait(60) == 143 and not list(Path("data/raw").iterdir())


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_strip_too_thin_to_evaluate_stops_fetch_by_name_or_is_left_out(raw, write, stages, birds, mode):
    Image.new("RGB", (60_000, 1), "red").save(birds / "owl/strip.png")
    write(own(raw, "folder", birds, pack=mode), Path.cwd())
    code, said = stages("fetch", "birds")
    assert code == 1 and "1 of 31 images cannot be read" in said
    assert "owl/strip.png: 60000 x 1 pixels are too thin a strip" in said and not Path("data/raw/birds").exists()
    write(own(raw, "folder", birds, pack=mode, skip_unreadable=True), Path.cwd())
    assert "left out 1 unreadable images" in stages.all("birds")
