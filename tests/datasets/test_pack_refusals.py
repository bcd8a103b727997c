"""What cannot be packed, and what is no pack, is named; nothing is left of it."""

import os

import pytest
from PIL import Image

from pfml.datasets.listing import Listing
from pfml.datasets.pack import checked_table, pack
from pfml.images.decode import EVALUATION_SIDE, resized
from pfml.images.packed import PackedImages, read_items
from pfml.training.batches.transforms import TRANSFORMS
from tests.datasets.pictures import encoded, listing_of


def unreadable(files) -> Listing:
    """Four of sixteen: cut, a text, empty, and gone."""
    whole = list(files.values())[1]
    broken = {"a90": whole[: len(whole) // 2], "a91": b"a text", "b92": b""}
    given = {**files, **broken, "b93": None}

    def read(name):
        if given[name] is None:
            raise PermissionError(13, "Permission denied", f"/somewhere/{name}")
        return given[name]

    table = listing_of(given).table.sort_values("class_id", kind="stable")
    return Listing(table, read)


def test_unreadable_images_are_all_named(files, tmp_path):
    with pytest.raises(ValueError, match=r"^4 of 16 images cannot be read; .*skip_unreadable") as caught:
        pack(unreadable(files), tmp_path / "p", "mine")
    reasons = str(caught.value).split("\n")[1:]
    assert [reason.split(":")[0].strip() for reason in reasons] == ["a90", "a91", "b92", "b93"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_unreadable_images_are_skipped_on_request(files, tmp_path, mode):
    meta = pack(unreadable(files), tmp_path / "p", "mine", mode=mode, skip_unreadable=True)
    assert (meta["images"], list(meta["skipped"])) == (12, ["a90", "a91", "b92", "b93"])
    assert meta["skipped"]["b93"] == "b93: Permission denied"
    items, images = read_items(tmp_path / "p"), PackedImages(tmp_path / "p")
    assert items["item"].tolist() == list(range(12)) and len(images) == 12
    assert items["name"].tolist() == sorted(files, key=lambda name: name[0])
    if mode == "exact":
        assert [images.bytes(i) for i in range(12)] == [files[name] for name in items["name"]]


def test_a_class_without_a_readable_image_is_an_error(files, tmp_path):
    with pytest.raises(ValueError, match=r"1 classes without a readable image: \['z'\]"):
        pack(listing_of({**files, "z1": b"text"}), tmp_path / "p", "mine", skip_unreadable=True)


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("size", [(30_000, 1), (1400, 1), (1, 1400), (2, 2732)])
def test_a_strip_that_evaluation_could_not_resize_is_unreadable(files, tmp_path, size, mode):
    """In both modes, whose images and digests are the same."""
    thin = {**files, "a90": encoded(Image.new("L", size)), "b91": encoded(Image.new("L", (1365, 1)))}
    with pytest.raises(
        ValueError, match=rf"1 of 14 images .*\n  a90: {size[0]} x {size[1]} pixels are too thin a strip"
    ):
        pack(listing_of(thin), tmp_path / "p", "mine", mode=mode)
    meta = pack(listing_of(thin), tmp_path / "p", "mine", mode=mode, skip_unreadable=True)
    assert meta["images"] == 13 and list(meta["skipped"]) == ["a90"]
    images = PackedImages(tmp_path / "p")
    assert min(resized(Image.fromarray(images[12]), EVALUATION_SIDE).size) == 256


def test_no_transform_resizes_to_a_longer_short_side():
    assert max(one.resize or 0 for one in TRANSFORMS.values()) == EVALUATION_SIDE


def test_a_fast_pack_of_a_long_short_side_refuses_more(tmp_path):
    listing = listing_of({"a": encoded(Image.new("L", (1000, 1)))})
    pack(listing, tmp_path / "exact", "mine")
    with pytest.raises(ValueError, match=r"a: 512000 x 512 pixels, expected at most"):
        pack(listing, tmp_path / "fast", "mine", mode="fast", short_side=512)


@pytest.mark.parametrize(
    "change, what",
    [
        (lambda t: t.drop(columns="class_id"), r"missing columns: \['class_id'\]"),
        (lambda t: t.iloc[:0], "found 0"),
        (lambda t: t.assign(name="a0"), "each name once, found a0"),
        (lambda t: t.assign(class_id=t["class_id"] * 2), "without gaps"),
        (lambda t: t.assign(class_id=t["class_id"] / 2), "without gaps"),
        (lambda t: t.assign(class_name="a"), "one class_name per class_id"),
        (lambda t: t.assign(class_name=t["name"]), "one class_name per class_id"),
        (lambda t: t.assign(split="val"), r"split: expected train or test, found \['val'\]"),
    ],
)
def test_a_table_that_is_no_listing_is_refused(files, change, what):
    with pytest.raises(ValueError, match=what):
        checked_table(change(listing_of(files).table))


def test_wrong_modes_and_targets_are_refused(files, tmp_path):
    for wrong in ({"mode": "slow"}, {"mode": "fast", "short_side": 0}):
        with pytest.raises(ValueError, match="expected mode exact or fast"):
            pack(listing_of(files), tmp_path / "p", "mine", **wrong)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1").write_text("years of work")
    with pytest.raises(FileExistsError, match="found something else"):
        pack(listing_of(files), tmp_path / "thesis", "mine")
    assert (tmp_path / "thesis/chapter1").read_text() == "years of work"


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
def test_a_damaged_pack_is_named(files, tmp_path, change):
    pack(listing_of(files), tmp_path / "p", "mine")
    path = tmp_path / "p/images.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=r"p: images\.bin: expected 12 images in \d+ bytes, found 12 in \d+"):
        PackedImages(tmp_path / "p")


def test_a_folder_that_is_no_pack_is_named(files, tmp_path):
    for broken in (None, "{", "{}", '{"mode": "slow"}', '{"mode": "exact"}'):
        if broken:
            (tmp_path / "meta.json").write_text(broken)
        with pytest.raises(ValueError, match="expected a pack"):
            PackedImages(tmp_path)
    pack(listing_of(files), tmp_path / "p", "mine")
    with pytest.raises(IndexError):
        PackedImages(tmp_path / "p")[12]


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file or directory"), OSError(5, "Input/output error")])
def test_a_disk_that_fails_is_not_an_unreadable_image(files, tmp_path, error):
    """Leaving images out is for images that are broken, not for a share that has gone."""
    listing = listing_of(files)

    def read(name):
        if name == "b5":
            raise error
        return files[name]

    with pytest.raises(type(error)):
        pack(Listing(listing.table, read), tmp_path / "raw", "x", skip_unreadable=True)
    assert not list(tmp_path.iterdir())
