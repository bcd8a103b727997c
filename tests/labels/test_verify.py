"""Hand-written tables of a few lines, and real pictures packed twice under other names and labels."""

import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pfml.datasets.listing import Listing
from pfml.datasets.pack import pack
from pfml.images.packed import read_items
from pfml.labels.verify import check, check_counts, class_sizes, counts, duplicates, report, text
from tests.conftest import REAL, needs_real
from tests.datasets.pictures import encoded


def table(lines: str) -> pd.DataFrame:
    """Lines of name, class number, content and half: "i0 0 A train"."""
    rows = [line.split() for line in lines.strip().splitlines()]
    items = pd.DataFrame(rows, columns=["name", "class_id", "sha256", "split"][: len(rows[0])])
    items["class_id"] = items["class_id"].astype(int)
    items["class_name"] = "class " + items["class_id"].astype(str)
    return items


@pytest.fixture
def clean() -> pd.DataFrame:
    return table("i0 0 A train\ni1 0 B train\ni2 0 C train\ni3 1 D train\ni4 1 E train\ni5 2 F test\ni6 2 G test")


def test_counts_of_images_classes_and_halves(clean):
    assert counts(clean) == {
        "images": 7, "classes": 3, "train_images": 5, "train_classes": 2, "test_images": 2, "test_classes": 1,
    }  # fmt: skip
    assert counts(clean.drop(columns="split")) == {"images": 7, "classes": 3}


def test_expected_counts(clean):
    check_counts(clean, counts(clean), "x")
    check_counts(clean, {"classes": 3}, "x")
    wrong = {"images": 8, "classes": 3, "test_images": 3}
    with pytest.raises(ValueError, match=r"^cub: found images 7, expected 8; test_images 2, expected 3"):
        check_counts(clean, wrong, "cub")
    with pytest.raises(KeyError, match="no such counts"):
        check_counts(clean.drop(columns="split"), {"test_images": 2}, "cub")


def test_nothing_to_report(clean):
    found = report(clean)
    assert not any(found["errors"].values()) and not any(found["warnings"].values())
    check(found, "x")
    assert text(found, "x").splitlines() == [
        "x: images 7, classes 3, train images 5, train classes 2, test images 2, test classes 1",
        "images per class: 2 to 3, median 2",
        "errors: none",
        "warnings: none",
    ]


def test_groups_of_equal_content_in_order():
    items = table("i0 0 A\ni1 0 B\ni2 1 Z\ni3 1 B\ni4 1 A\ni5 0 B")
    assert [list(group["name"]) for group in duplicates(items)] == [["i0", "i4"], ["i1", "i3", "i5"]]


def test_each_kind_of_duplicate_is_told_apart():
    items = table("""
        i0 0 A train
        i1 0 A train
        i2 0 B train
        i3 1 B train
        i4 1 C train
        i5 2 C test
        i6 2 D test
        i7 2 D test
        i8 2 D test
        i9 3 E test
    """)
    found = report(items)
    assert found["errors"] == {"class_in_both_halves": [], "image_in_both_halves": [["i4", "i5"]]}
    assert found["warnings"] == {
        "same_image_same_class": [["i0", "i1"], ["i6", "i7", "i8"]],
        "same_image_other_class": [["i2", "i3"]],
        "class_with_one_image": ["class 3"],
    }
    with pytest.raises(ValueError, match=r"(?s)^cub: .*image in both halves: 1 \(i4 = i5\)") as caught:
        check(found, "cub")
    assert "same image" not in str(caught.value)  # warnings are no reason to stop
    assert "same image same class: 2 (i0 = i1; i6 = i7 = i8)" in text(found, "cub")


def test_without_a_split_duplicates_are_warnings():
    found = report(table("i0 0 A\ni1 1 A\ni2 1 B\ni3 1 B"))
    check(found, "x")
    assert found["warnings"]["same_image_other_class"] == [["i0", "i1"]]
    assert found["warnings"]["same_image_same_class"] == [["i2", "i3"]]


def test_a_class_in_both_halves_is_an_error(clean):
    clean.loc[6, ["class_id", "class_name"]] = [0, "class 0"]
    with pytest.raises(ValueError, match=r"class in both halves: 1 \(class 0\)"):
        check(report(clean), "x")


def test_class_sizes(clean):
    assert class_sizes(clean) == {"smallest": 2, "median": 2.0, "largest": 3, "with_one_image": 0}
    assert class_sizes(clean.iloc[[0, 3, 4]]) == {"smallest": 1, "median": 1.5, "largest": 2, "with_one_image": 1}


def test_a_report_is_json_and_its_text_is_short(clean):
    many = pd.DataFrame({"name": [f"i{i}" for i in range(60)], "class_id": np.arange(60) // 4, "class_name": "c"})
    many["sha256"] = [str(i // 2) for i in range(60)]
    found = report(many)
    assert json.loads(json.dumps(found)) == found
    assert len(found["warnings"]["same_image_same_class"]) == 30
    assert "30 (i0 = i1; i2 = i3; i4 = i5; i6 = i7; i8 = i9; and 25 more)" in text(found, "x")


def test_the_same_picture_in_another_file_is_found(tmp_path):
    """Nine pictures twice in the test half, as in Cars-196; the copies are stored upside down, with an orientation."""
    rng, files = np.random.default_rng(0), {}
    for i in range(30):
        picture = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        files[f"{i}.png"] = encoded(picture, "PNG")
        if i >= 21:
            exif = Image.Exif()
            exif[0x0112] = 3
            files[f"{i} again.png"] = encoded(picture.rotate(180), "PNG", exif=exif)
    items = pd.DataFrame({"name": list(files)})
    items["class_id"] = [int(name.split(".")[0].split()[0]) // 3 for name in files]
    items["class_name"] = items["class_id"].astype(str)
    items["split"] = np.where(items["class_id"] < 5, "train", "test")
    pack(Listing(items, files.__getitem__), tmp_path / "p", "cars")
    found = report(read_items(tmp_path / "p"))
    check(found, "cars")
    expected = [[f"{i}.png", f"{i} again.png"] for i in range(21, 30)]
    assert found["warnings"]["same_image_same_class"] == expected


@needs_real
def test_a_real_dataset_and_planted_mistakes(tmp_path):
    """Ten training and ten test classes of CUB-200-2011, official split; then a copy in the other half."""
    archive = ZipFile(Path(REAL, "data/cub200_bbox227/cub200_bbox227_100cls.zip"))
    labels = pd.read_csv(archive.open("labels.csv"))
    chosen = [half["class_id"].unique()[:10] for _, half in labels.groupby("dml_split")]
    labels = labels[labels["class_id"].isin(np.concatenate(chosen))].groupby("class_id").head(12)
    items = labels.rename(columns={"file": "name", "dml_split": "split"})[["name", "class_name", "split"]]
    items["class_id"] = labels["class_id"].rank(method="dense").astype(int) - 1
    meta = pack(Listing(items, archive.read), tmp_path / "p", "cub", mode="fast", short_side=8)
    found = report(read_items(tmp_path / "p"))
    check(found, "cub")
    assert found["counts"] == {
        "images": 240, "classes": 20, "train_images": 120, "train_classes": 10, "test_images": 120, "test_classes": 10,
    }  # fmt: skip
    first, last = items["name"].iloc[0], items["name"].iloc[-1]
    leaking = Listing(items, lambda name: archive.read(first if name == last else name))
    assert pack(leaking, tmp_path / "q", "cub", mode="fast", short_side=8)["digest"] != meta["digest"]
    with pytest.raises(ValueError, match="image in both halves: 1"):
        check(report(read_items(tmp_path / "q")), "cub")
