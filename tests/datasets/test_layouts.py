"""The official layouts and the copies, read from small archives; and what is said when one of them is not as it was."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pfml.datasets import copies, layouts
from pfml.datasets.archives import open_archive
from pfml.datasets.sources import DATASETS, check_counts
from tests.conftest import REAL, needs_real
from tests.datasets import official


@pytest.fixture
def opened(tmp_path):
    def _opened(files, name="a.zip"):
        path = (official.write_zip if name.endswith("zip") else official.write_tgz)(tmp_path / name, files)
        return open_archive(path, tmp_path / "work", max_files=1000, max_bytes=1 << 26)

    return _opened


def check(listing, classes, images):
    """Every image is there, decodes, and shows the colour of its class."""
    table = listing.table
    assert len(table) == images and table["name"].is_unique and table["class_id"].dtype.kind == "i"
    assert sorted(table["class_id"].unique()) == list(range(classes))
    assert table.groupby("class_id")["class_name"].nunique().eq(1).all()
    assert pickle.loads(pickle.dumps(listing.read))(table["name"][0]) == listing.read(table["name"][0])
    for name, class_id in zip(table["name"], table["class_id"]):
        with Image.open(io.BytesIO(listing.read(name))) as image:
            colour = np.asarray(image.convert("RGB"))[-1, -1, :2].astype(int)
        assert abs(colour - [class_id * 37 % 256, class_id * 91 % 256]).max() < 12, name
    with pytest.raises(ValueError, match="absent"):
        listing.read("absent")


def test_cub(opened):
    listing = layouts.cub200(opened(official.cub_files(), "CUB_200_2011.tgz"))
    check(listing, classes=4, images=12)
    assert listing.table["name"][1] == "CUB_200_2011/images/002.Bird_B/Bird_B_0000_101.jpg"
    assert listing.table["class_name"].tolist()[:2] == ["001.Bird_A", "002.Bird_B"]
    assert "split" not in listing.table  # the archive's own split is another one: by image


@pytest.mark.parametrize(
    "file, change, message",
    [
        ("images.txt", lambda t: None, r"a\.zip: has no member CUB_200_2011/images\.txt"),
        ("classes.txt", lambda t: None, "has no member"),
        ("images.txt", lambda t: t.replace("1 001.", "1 x 001.", 1), r"images\.txt:1: expected 2 columns, found 3"),
        ("images.txt", lambda t: t.replace("2 002.", "two 002.", 1), r"images\.txt:2: expected an id.*'two'"),
        ("images.txt", lambda t: t.replace("2 002.", "1 002.", 1), r"images\.txt:2: id 1 a second time"),
        ("images.txt", lambda t: t.replace("Bird_A_0000", "Bird_A_9999"), "Bird_A_9999_100.jpg is listed but not in"),
        ("images.txt", lambda t: t.replace("Bird_A_0000", "Bird_A_0001"), "images.txt:5: image .* a second time"),
        ("images.txt", lambda t: t.partition("\n")[2], r"image 1 is in image_class_labels\.txt but not in images\.txt"),
        ("image_class_labels.txt", lambda t: t.partition("\n")[2], r"image 1 is in images\.txt but not in"),
        (
            "image_class_labels.txt",
            lambda t: t.replace("1 1\n", "1 5\n", 1),
            r"labels\.txt:1: class 5, expected one of",
        ),
        ("image_class_labels.txt", lambda t: t.replace("1 1\n", "1 0\n", 1), r"labels\.txt:1: expected a class.*'0'"),
        ("image_class_labels.txt", lambda t: t.replace(" 2\n", " 1\n"), "4, but class 2 has no image"),
        ("images.txt", lambda t: "\xff", "not a text file"),
        ("images.txt", lambda t: "", "image 1 is in"),
    ],
)
def test_cub_that_is_not_as_it_was(opened, file, change, message):
    files = official.cub_files()
    changed = change(files.pop(f"CUB_200_2011/{file}").decode())
    if changed is not None:
        files[f"CUB_200_2011/{file}"] = changed.encode("latin-1")
    with pytest.raises(ValueError, match=message):
        layouts.cub200(opened(files))


def test_cars(opened, tmp_path):
    files, annotations = official.cars_files()
    (tmp_path / "cars_annos.mat").write_bytes(annotations)
    listing = layouts.cars196(opened(files, "car_ims.tgz"), tmp_path / "cars_annos.mat")
    check(listing, classes=4, images=12)
    assert listing.table["name"][0] == "car_ims/000001.jpg"
    assert listing.table.groupby("class_id")["class_name"].first().tolist() == official.CARS


def test_cars_of_a_single_annotation(opened, tmp_path):
    files, annotations = official.cars_files(classes=1, per_class=1)
    (tmp_path / "cars_annos.mat").write_bytes(annotations)
    check(layouts.cars196(opened(files), tmp_path / "cars_annos.mat"), classes=1, images=1)


def test_cars_that_are_not_as_they_were(opened, tmp_path):
    from scipy.io import loadmat, savemat

    files, annotations = official.cars_files()
    path = tmp_path / "cars_annos.mat"
    path.write_bytes(annotations)
    content = loadmat(path)
    archive = opened(files)

    def complaint(changed):
        savemat(path, changed)
        with pytest.raises(ValueError) as error:
            layouts.cars196(archive, path)
        return str(error.value)

    assert "has no class_names; found" in complaint({"annotations": content["annotations"]})
    few = {"annotations": content["annotations"], "class_names": content["class_names"][:, :2]}
    assert "annotation 7: class 3, expected 1 to 2" in complaint(few)
    assert "no field" in complaint({**few, "annotations": np.arange(3)})
    del files["car_ims/000002.jpg"]
    archive = opened(files)
    absent = complaint({k: content[k] for k in ("annotations", "class_names")})
    assert "annotation 2" in absent and "car_ims/000002.jpg is listed but not in" in absent
    for damage in (annotations[:300], b"not a mat file", b""):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=r"cars_annos\.mat: not a readable \.mat file"):
            layouts.cars196(archive, path)


def test_sop(opened):
    listing = layouts.sop(opened(official.sop_files()))
    check(listing, classes=5, images=10)
    assert listing.table["split"].tolist() == ["train"] * 6 + ["test"] * 4
    assert listing.table["class_name"][0] == "bicycle 111000000000" and listing.table["class_id"][9] == 4


@pytest.mark.parametrize(
    "split, change, message",
    [
        ("train", lambda t: t.partition("\n")[2], r"Ebay_train\.txt:1: expected the header"),
        ("train", lambda t: t.replace("2 1 1 ", "2 1 "), r"Ebay_train\.txt:3: expected 4 columns, found 3"),
        ("train", lambda t: t.replace("2 1 1 ", "2 one 1 "), r"Ebay_train\.txt:3: expected a class_id.*'one'"),
        ("test", lambda t: t.replace("7 4 ", "7 3 "), r"Ebay_test\.txt:2: class 3 is a training class"),
        ("test", lambda t: t.replace(" 5 1 ", " 9 1 "), "up to 9, but class 5 has no image"),
        ("test", lambda t: t.replace("_1.JPG", "_7.JPG"), "Ebay_test.txt:3: image .*_7.JPG is listed but not in"),
    ],
)
def test_sop_that_is_not_as_it_was(opened, split, change, message):
    files = official.sop_files()
    name = f"Stanford_Online_Products/Ebay_{split}.txt"
    files[name] = change(files[name].decode()).encode()
    with pytest.raises(ValueError, match=message):
        layouts.sop(opened(files))


def test_omniglot(opened):
    background = official.omniglot_files("images_background", {"Greek": 2, "Futurama": 1})
    evaluation = official.omniglot_files("images_evaluation", {"Atlantean": 1})
    noise = {"__MACOSX/images_background/._Greek": b"\0", "images_background/.DS_Store": b"\0"}
    archives = opened(background | noise, "background.zip"), opened(evaluation, "evaluation.zip")
    listing = layouts.omniglot(*archives)
    table = listing.table
    order = ["Futurama/character01", "Greek/character01", "Greek/character02", "Atlantean/character01"]
    assert table.groupby("class_id")["class_name"].first().tolist() == order
    assert table["split"].tolist() == ["train"] * 6 + ["test"] * 2
    assert {name: listing.read(name) for name in table["name"]} == background | evaluation
    with pytest.raises(ValueError, match=r"evaluation\.zip: holds no images_background"):
        layouts.omniglot(archives[1], archives[0])
    deep = opened({"images_background/Greek/character01/a/b.png": b""}, "deep.zip")
    with pytest.raises(ValueError, match="expected images_background/<alphabet>"):
        layouts.omniglot(deep, archives[1])


def cars_parquet(tmp_path, **changes):
    """Two files of five images each, classes mixed as in the copy's own halves."""
    paths = []
    for half, labels in (("train", [0, 1, 2, 3, 0]), ("test", [3, 2, 1, 0, 3])):
        images = [official.picture(c, i + 50 * (half == "test")) for i, c in enumerate(labels)]
        columns = {"image": images, "label": labels, **changes}
        paths.append(official.write_parquet(tmp_path / f"{half}-00000.parquet", columns, official.CARS))
    return paths


def test_cars_of_hugging_face(tmp_path):
    listing = copies.cars196_parquet(cars_parquet(tmp_path))
    check(listing, classes=4, images=10)
    assert listing.table["class_name"].tolist()[:4] == official.CARS


def test_cars_of_hugging_face_that_are_not_as_they_were(tmp_path):
    with pytest.raises(ValueError, match=r"train-00000\.parquet: row 1: label 9, expected 0 to 3"):
        copies.cars196_parquet(cars_parquet(tmp_path, label=[0, 9, 1, 2, 3]))
    listing = copies.cars196_parquet(cars_parquet(tmp_path, image=[None] * 5))
    with pytest.raises(ValueError, match="row 0: column image holds no bytes"):
        listing.read(listing.table["name"][0])
    path = official.write_parquet(tmp_path / "x.parquet", {"img": [b""]})
    with pytest.raises(ValueError, match="has no column 'label'; found img"):
        copies.cars196_parquet([path])
    path.write_bytes(b"PAR1 no PAR1")
    with pytest.raises(ValueError, match=r"x\.parquet: not a readable parquet file"):
        copies.cars196_parquet([path])


def sop_parquet(tmp_path, shift=3):
    paths = []
    for split, first, count in (("train", 0, 3), ("test", shift, 2)):
        classes = [first + i // 2 for i in range(2 * count)]
        columns = {
            "image": [official.picture(c, i) for i, c in enumerate(classes)],
            "item_id": [f"1110{c:08d}" for c in classes],
            "image_path": [f"mug_final/1110{c:08d}_{split}{i}.JPG" for i, c in enumerate(classes)],
        }
        paths.append(official.write_parquet(tmp_path / f"{split}.parquet", columns))
    return paths


def test_sop_of_hugging_face(tmp_path):
    train, test = sop_parquet(tmp_path)
    listing = copies.sop_parquet([train], [test])
    check(listing, classes=5, images=10)
    assert listing.table["split"].tolist() == ["train"] * 6 + ["test"] * 4
    assert listing.table["class_name"][0] == "mug 111000000000"
    train, test = sop_parquet(tmp_path, shift=2)
    with pytest.raises(ValueError, match=r"test\.parquet: row 0: item 111000000002 is a training class"):
        copies.sop_parquet([train], [test])


def test_cars_of_kaggle(opened):
    files = official.cars_folder_files()
    check(copies.cars196_folders(opened(files)), classes=4, images=24)
    files["anno_test.csv"] = files["anno_test.csv"].replace(b"00002.jpg,1,1,8,8,1", b"00002.jpg,1,1,8,8,7")
    with pytest.raises(ValueError, match=r"anno_test\.csv:2: class 7, expected 1 to 4"):
        copies.cars196_folders(opened(files))
    files["anno_test.csv"] = b"00001.jpg;1"
    with pytest.raises(ValueError, match=r"anno_test\.csv:1: expected file,x1"):
        copies.cars196_folders(opened(files))


@needs_real
def test_the_real_lists_of_cub_have_the_expected_counts(opened):
    with zipfile.ZipFile(Path(REAL, "data/cub200_meta/cub200_meta.zip")) as meta:
        text = {name: meta.read(name).decode() for name in meta.namelist()}
    known = dict(line.split() for line in text["images_first50cls.txt"].splitlines())
    names = dict(line.split() for line in text["classes.txt"].splitlines())
    files, lines = {}, []
    for line in text["image_class_labels.txt"].splitlines():
        image, label = line.split()
        path = known.get(image, f"{names[label]}/{image}.jpg")  # the names of classes 1 to 50 are the real ones
        lines.append(f"{image} {path}")
        files[f"CUB_200_2011/images/{path}"] = b""
    files |= {f"CUB_200_2011/{name}": text[name].encode() for name in ("classes.txt", "image_class_labels.txt")}
    files["CUB_200_2011/images.txt"] = "\n".join(lines).encode()
    path = official.write_zip(Path(opened({"x": b""}).path.parent, "cub.zip"), files)
    listing = layouts.cub200(open_archive(path, path.parent, max_files=20_000, max_bytes=1 << 26))
    check_counts(listing, DATASETS["cub200"], "cub")
    # The folder of an image names its class.
    folders = listing.table["name"].str.split("/").str[2]
    assert (folders == listing.table["class_name"]).all()
    assert (folders.str[:3].astype(int) - 1 == listing.table["class_id"]).all()


@needs_real
def test_the_real_characters_of_omniglot_have_the_expected_counts(tmp_path):
    content = np.load(Path(REAL, "data/omniglot/omniglot_105.npz"))
    archives = []
    for root, first in (("images_background", True), ("images_evaluation", False)):
        files = {}
        for c in np.flatnonzero(content["class_is_background"] == first):
            character = str(content["class_names"][c]).partition("/")[2]
            files |= {f"{root}/{character}/{c:04d}_{k:02d}.png": b"" for k in range((content["label"] == c).sum())}
        path = official.write_zip(tmp_path / f"{root}.zip", files)
        archives.append(open_archive(path, tmp_path, max_files=30_000, max_bytes=1 << 20))
    listing = layouts.omniglot(*archives)
    check_counts(listing, DATASETS["omniglot"], "omniglot")
    assert listing.table["class_name"][0].startswith("Alphabet_of_the_Magi/character01")
