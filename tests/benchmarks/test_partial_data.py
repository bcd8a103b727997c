"""The images of the studies on partial data, laid out from archives like those beside this project."""

import csv
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from benchmarks import partial_data
from pfml.datasets.sources import DATASETS, open_dataset


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (9, 12, 3), np.uint8)).save(file, format="PNG")
    return file.getvalue()


def test_crops_become_a_csv_with_their_split(tmp_path):
    columns = {"a.zip": ["file", "class_id", "class_name", "dml_split"], "b.zip": ["file", "class_id", "class_name"]}
    for number, (name, header) in enumerate(columns.items()):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(f"{number}/1.png", picture(number))
            row = [f"{number}/1.png", 101 if number == 0 else 2, "Auk, great", "test"][: len(header)]
            table = io.StringIO()
            csv.writer(table).writerows([header, row])
            archive.writestr("labels.csv", table.getvalue())
    assert partial_data.crops([tmp_path / "a.zip", tmp_path / "b.zip"], "dml_split", tmp_path / "out") == 2
    rows = list(csv.DictReader((tmp_path / "out/labels.csv").open(encoding="utf-8")))
    assert rows == [
        {"path": "0/1.png", "label": "101 Auk, great", "split": "test"},
        {"path": "1/1.png", "label": "002 Auk, great", "split": "train"},
    ]
    assert (tmp_path / "out/1/1.png").read_bytes() == picture(1)


def test_drawings_become_archives_that_the_catalogue_takes(tmp_path, monkeypatch):
    """With fewer characters: the form is said not to be the official files, and the pictures are the arrays."""
    ink = np.random.default_rng(0).random((6, 105, 105)) < 0.1
    np.savez(
        tmp_path / "o.npz", images=np.packbits(ink.reshape(6, -1), axis=1), label=np.array([0, 0, 1, 1, 2, 2]),
        drawer=np.array([1, 2] * 3), shape=np.array([105, 105]), class_is_background=np.array([True, True, False]),
        class_names=np.array(["images_background/A/c1", "images_background/A/c2", "images_evaluation/B/c1"]),
    )  # fmt: skip
    assert partial_data.omniglot(tmp_path / "o.npz", tmp_path / "manual") == 6
    small = {"classes": 3, "train_classes": 2, "train_images": 4, "test_images": 2}
    entry = type(DATASETS["omniglot"])(**vars(DATASETS["omniglot"]) | small)
    listing = open_dataset("omniglot", tmp_path / "downloads", tmp_path / "manual", entry)
    assert "not the official files" in listing.table.attrs["form"]
    pixels = np.array(Image.open(io.BytesIO(listing.read(listing.table["name"][5]))).convert("L"))
    assert np.array_equal(pixels == 0, ink[5])
    first = (tmp_path / "manual/omniglot_background.zip").read_bytes()
    partial_data.omniglot(tmp_path / "o.npz", tmp_path / "manual")
    assert (tmp_path / "manual/omniglot_background.zip").read_bytes() == first, "the same bytes each time"


def test_without_the_folder_it_says_what_is_missing(monkeypatch):
    monkeypatch.delenv("PFML_REAL_DATA", raising=False)
    with pytest.raises(SystemExit, match="PFML_REAL_DATA: expected the folder"):
        partial_data.main([])
