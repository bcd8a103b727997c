"""Packs made for real: what lies in them, down to the byte."""

import hashlib
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pfml.datasets.listing import Listing
from pfml.datasets.own import csv_listing, folder_listing
from pfml.datasets.pack import pack
from pfml.images.decode import content_digest, decode
from pfml.images.packed import PackedImages, digests, open_images, read_items
from tests.conftest import REAL, needs_real
from tests.datasets.pictures import encoded, listing_of, noise


def test_exact_keeps_every_byte(files, tmp_path):
    meta = pack(listing_of(files), tmp_path / "p", "mine", source="me", licence="mine")
    images = PackedImages(tmp_path / "p")
    assert sorted(os.listdir(tmp_path / "p")) == ["images.bin", "index.npy", "items.csv", "meta.json"]
    assert os.listdir(tmp_path) == ["p"]
    assert (tmp_path / "p/images.bin").read_bytes() == b"".join(files.values())
    for i, (name, data) in enumerate(files.items()):
        assert images.bytes(i) == data
        assert np.array_equal(images[i], np.asarray(decode(data, name)))
    assert len(images) == 12 and len(list(images)) == 12 and np.array_equal(images[-1], images[11])
    assert meta == json.loads((tmp_path / "p/meta.json").read_text()) == images.meta
    assert meta == {
        "name": "mine", "source": "me", "licence": "mine", "mode": "exact", "short_side": None, "images": 12,
        "classes": 2, "digest": meta["digest"], "bytes": sum(map(len, files.values())), "skipped": {},
    }  # fmt: skip


def test_fast_holds_what_torchvision_resizes_to(files, tmp_path):
    resize = pytest.importorskip("torchvision.transforms.functional").resize
    pack(listing_of(files), tmp_path / "p", "mine", mode="fast", short_side=32)
    images = PackedImages(tmp_path / "p")
    for i, (name, data) in enumerate(files.items()):
        expected = np.asarray(resize(decode(data, name), 32))  # a PIL image: bilinear, antialiased
        assert min(images[i].shape[:2]) == 32
        assert np.array_equal(images[i], expected)


def test_fast_reads_without_a_copy(files, tmp_path):
    pack(listing_of(files), tmp_path / "p", "mine", mode="fast", short_side=32)
    images = PackedImages(tmp_path / "p")
    assert np.shares_memory(images[3], images[3]) and not images[3].flags.writeable
    with pytest.raises(ValueError, match="mode exact only, this one is fast"):
        images.bytes(0)


def test_items_say_what_each_image_is(files, tmp_path):
    for mode in ("exact", "fast"):
        pack(listing_of(files, split="train"), tmp_path / mode, "mine", mode=mode, short_side=8)
    items = read_items(tmp_path / "exact")
    assert list(items) == ["item", "class_id", "class_name", "name", "split", "width", "height", "sha256"]
    assert items["item"].tolist() == list(range(12)) and items["name"].tolist() == list(files)
    pictures = [decode(data, name) for name, data in files.items()]
    assert list(zip(items["width"], items["height"])) == [picture.size for picture in pictures]
    assert items["sha256"].tolist() == [content_digest(picture) for picture in pictures]
    # Both modes name the same content, and the digest of the whole is over classes and contents, in order.
    assert items.equals(read_items(tmp_path / "fast"))
    lines = "".join(f"{c} {s}\n" for c, s in zip(items["class_id"], items["sha256"]))
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert {PackedImages(tmp_path / mode).meta["digest"] for mode in ("exact", "fast")} == {expected}
    assert list(digests(PackedImages(tmp_path / "exact"))) == items["sha256"].tolist()


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_packing_again_gives_the_same_bytes(files, tmp_path, mode):
    for threads in (1, 5):
        pack(listing_of(files), tmp_path / str(threads), "mine", mode=mode, threads=threads)
    for file in (tmp_path / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "5" / file.name).read_bytes()


@pytest.mark.parametrize("awkward", [["007", "1.0"], ["NA", "null", "a,b", 'say "x"', "two\nlines", "ä", ""]])
def test_names_survive_the_table(tmp_path, awkward):
    listing = Listing(
        pd.DataFrame({"name": [f"{c}/0" for c in awkward], "class_id": range(len(awkward)), "class_name": awkward}),
        lambda name: encoded(noise(4, 4)),
    )
    pack(listing, tmp_path / "p", "mine")
    items = read_items(tmp_path / "p")
    assert items["class_name"].tolist() == awkward and items["name"].tolist() == [f"{c}/0" for c in awkward]


def test_one_way_in_for_arrays_and_packs(files, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (5, 40, 60, 3), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a/images.npy", array)
    pack(listing_of(files), tmp_path / "p", "mine")
    assert isinstance(open_images(tmp_path / "p"), PackedImages)
    images = open_images(tmp_path / "a")
    again = pickle.loads(pickle.dumps(images))
    assert len(images) == len(again) == 5 and len(pickle.dumps(images)) < 1000
    assert all(np.array_equal(images[i], array[i]) and np.array_equal(again[i], array[i]) for i in range(5))
    assert np.array_equal(images[np.array([3, 1])], array[[3, 1]])
    assert list(digests(images)) == [content_digest(image) for image in array]
    with pytest.raises(ValueError, match="expected a pack"):
        open_images(tmp_path / "gone")


@needs_real
def test_real_photographs_from_an_archive(tmp_path):
    """300 crops of CUB-200-2011, read from their zip, in both modes."""
    archive = zipfile.ZipFile(Path(REAL, "data/cub200_bbox227/cub200_bbox227_100cls.zip"))
    labels = pd.read_csv(archive.open("labels.csv"))
    labels = labels.iloc[:: len(labels) // 300]
    table = pd.DataFrame({"name": labels["file"], "class_name": labels["class_name"], "split": labels["dml_split"]})
    table["class_id"] = labels["class_id"].rank(method="dense").astype(int) - 1
    listing = Listing(table, archive.read)
    exact = pack(listing, tmp_path / "exact", "cub")
    fast = pack(listing, tmp_path / "fast", "cub", mode="fast", short_side=64)
    assert exact["images"] == fast["images"] == len(table) and exact["digest"] == fast["digest"]
    originals, small = PackedImages(tmp_path / "exact"), PackedImages(tmp_path / "fast")
    for i in range(0, len(table), 17):
        assert originals.bytes(i) == archive.read(table["name"].iloc[i])
        assert originals[i].shape == (227, 227, 3) and small[i].shape == (64, 64, 3)
    assert len(set(read_items(tmp_path / "fast")["sha256"])) == len(table)


@needs_real
def test_real_characters_through_a_folder_and_a_csv(tmp_path):
    """The first 40 characters of Omniglot as one-bit PNGs: both routes give the same pack."""
    source = np.load(Path(REAL, "data/omniglot/omniglot_105.npz"))
    rows = np.flatnonzero(source["label"] < 40)
    ink = np.unpackbits(source["images"][rows], axis=1)[:, : 105 * 105].reshape(-1, 105, 105)
    lines = ["path,label"]
    for bits, label, drawer in zip(ink, source["label"][rows], source["drawer"][rows]):
        path = tmp_path / f"omniglot/{label}/{drawer}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((1 - bits) * 255).convert("1").save(path)
        lines.append(f"omniglot/{label}/{drawer}.png,{label}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    by_folder = pack(folder_listing(tmp_path / "omniglot"), tmp_path / "a", "omniglot")
    by_csv = pack(csv_listing(tmp_path / "list.csv"), tmp_path / "b", "omniglot", mode="fast", short_side=105)
    assert (by_folder["images"], by_folder["classes"]) == (800, 40)
    assert by_folder["digest"] == by_csv["digest"]
    images, stored = PackedImages(tmp_path / "a"), PackedImages(tmp_path / "b")
    for i in range(0, 800, 31):
        assert np.array_equal(images[i], np.repeat((1 - ink[i])[:, :, None] * 255, 3, 2))
        assert np.array_equal(images[i], stored[i])
