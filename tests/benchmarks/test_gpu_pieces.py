"""Pieces of `make gpu`: results on disk, pictures on the device, the bundle, the report before any GPU has run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pfml.images.packed import PackedImages, read_items
from pfml.training.batches.crops import batched_crops
from pfml.training.batches.pictures import PackedPictures, step_generator
from pfml.training.batches.transforms import TRANSFORMS, flips, normalize, random_boxes
from tests.conftest import REAL, ROOT, needs_real

sys.path.append(str(ROOT / "benchmarks"))
from gpu_bundle import MOST, bundle, requirements, size
from gpu_crops import MOST as MOST_CROPS
from gpu_crops import fast_pack, generated
from gpu_pictures import DevicePictures, load_pixels
from gpu_report import NOT, section
from gpu_results import append, read

SMALL = TRANSFORMS["small"]


def test_a_line_broken_by_a_kill_costs_itself_alone(tmp_path):
    path = tmp_path / "gpu.jsonl"
    append(path, "loss", "step", points=1)
    with path.open("a") as file:
        file.write('{"part": "loss", "kind": "st')
    assert read(path) == [{"part": "loss", "kind": "step", "points": 1}]
    append(path, "loss", "step", points=2)
    assert [entry["points"] for entry in read(path)] == [1, 2]
    assert read(tmp_path / "none.jsonl") == []


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    generated(folder / "exact", classes=4, each=3)
    return fast_pack(folder / "exact", folder / "fast", SMALL.resize)


def test_pictures_on_the_device_are_those_of_the_pack(images):
    rows = np.array([7, 0, 3, 11, 4])
    ours = DevicePictures(load_pixels(images, "cpu"), images, rows, SMALL)
    pack = PackedPictures(images, rows, SMALL)
    assert len(ours) == len(pack) and ours.side == pack.side
    assert torch.equal(torch.cat([*ours.evaluation(2)]), torch.cat([*pack.evaluation(2)]))
    batch = torch.tensor([4, 1, 2])
    ((_, found),) = ours.training([batch], 5, 1, start=3)
    draw = step_generator(5, 1, 3)
    boxes = random_boxes(*ours.places[batch, 1:].T, SMALL, draw)
    mirrored = flips(3, SMALL.flip, draw)
    crops = batched_crops([images[int(rows[i])] for i in batch], boxes, SMALL.size, mirrored, "cpu")
    assert torch.equal(found, normalize(crops, SMALL))


def test_pictures_on_the_device_need_their_short_side(images):
    with pytest.raises(ValueError, match="expected a fast pack of short side 256, found 72"):
        DevicePictures(load_pixels(images, "cpu"), images, np.arange(2), TRANSFORMS["vit"])


def test_a_miniature_takes_classes_of_both_halves(images, tmp_path):
    few = fast_pack(images.folder.with_name("exact"), tmp_path / "few", SMALL.resize, classes=1, each=2)
    items = read_items(few.folder)
    assert items[["class_id", "split"]].to_numpy().tolist() == [[0, "train"]] * 2 + [[1, "test"]] * 2


def test_without_results_everything_is_not_measured():
    text = section([])
    assert text.count(f"| {NOT} |") >= 8 + 2 * 11  # tables, and rows of the check
    report = (ROOT / "reports/benchmarks.md").read_text()
    assert "\n## On a GPU\n" in report
    assert [line for line in text.splitlines() if line.startswith("### ") and line not in report] == []


def test_wheels_have_the_locked_versions():
    assert {"pytest", "pydantic-core", "pytorch-metric-learning"} <= {line.split("==")[0] for line in requirements()}


@pytest.mark.long
@needs_real
def test_the_bundle_fits(tmp_path):
    try:
        left_out = bundle(tmp_path, Path(REAL))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no wheels, since the package index cannot be reached: {error}")
    assert size(tmp_path) <= MOST and size(tmp_path / "crops") <= MOST_CROPS
    assert "tf_efficientnet_lite2" not in left_out
    names = {path.name.split("-")[0].replace("_", "-").lower() for path in (tmp_path / "wheels").iterdir()}
    assert names == {line.split("==")[0] for line in requirements()}
    items = read_items(tmp_path / "crops")
    assert len(PackedImages(tmp_path / "crops")) == len(items) > 4000
    classes = items.groupby("split")["class_id"].nunique()
    assert classes.equals(pd.Series({"test": 49, "train": 49}, name="class_id").rename_axis("split"))
