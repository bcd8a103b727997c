"""Own folders and CSV files with dead links, and with one name in two Unicode forms."""

import os
import warnings

import pytest
from PIL import Image

from pfml.datasets.own import csv_listing, folder_listing
from pfml.datasets.pack import pack
from tests.datasets.pictures import encoded

NFC, NFD = "Caf\u00e9", "Cafe\u0301"


@pytest.fixture
def fill(tmp_path):
    """Write image files, given by their names below the test's folder."""

    def _fill(*names: str, root=tmp_path):
        for value, name in enumerate(names):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(encoded(Image.new("L", (4, 3), value)))
        return root

    return _fill


def with_dead_links(root):
    """Three dead links in two classes, one of them in a circle, beside images."""
    (root / "a/2.png").symlink_to(root / "gone/2.png")
    (root / "a/3.jpg").symlink_to("3.jpg")
    (root / "b/x.png").symlink_to("../nowhere.png")
    return root


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_dead_links_are_all_named_and_left_out_on_request(fill, tmp_path, mode):
    root = with_dead_links(fill("data/a/1.png", "data/b/1.png", root=tmp_path) / "data")
    with pytest.raises(ValueError, match=r"^3 of 5 images cannot be read; .*skip_unreadable:") as caught:
        pack(folder_listing(root), tmp_path / "p", "mine", mode=mode)
    for name in ("a/2.png", "a/3.jpg", "b/x.png"):
        assert f"\n  {name}: a link to a file that is not there" in str(caught.value)
    meta = pack(folder_listing(root), tmp_path / "p", "mine", mode=mode, skip_unreadable=True)
    assert meta["images"] == 2 and list(meta["skipped"]) == ["a/2.png", "a/3.jpg", "b/x.png"]
    assert str(tmp_path) not in str(meta["skipped"])


def test_dead_links_of_a_csv_are_named_as_those_of_a_folder(fill, tmp_path):
    root = with_dead_links(fill("a/1.png", "b/1.png"))
    names = ["a/1.png", "a/2.png", "a/3.jpg", "b/1.png", "b/x.png"]
    (root / "list.csv").write_text("path,label\n" + "".join(f"{name},{name[0]}\n" for name in names))
    with pytest.raises(ValueError, match=r"^3 of 5 images cannot be read"):
        pack(csv_listing(root / "list.csv"), tmp_path / "p", "mine")
    meta = pack(csv_listing(root / "list.csv"), tmp_path / "p", "mine", skip_unreadable=True)
    assert list(meta["skipped"]) == ["a/2.png", "a/3.jpg", "b/x.png"]


def test_a_dead_link_in_place_of_a_class_is_refused(fill):
    root = fill("a/1.png", "b/1.png")
    for name in ("c", "d"):
        (root / name).symlink_to(root / "gone")
    with pytest.raises(ValueError, match="expected class folders, found 2 links to what is not there: c, d; remove"):
        folder_listing(root)


def test_a_file_that_is_gone_is_no_dead_link(fill):
    listing = folder_listing(fill("a/1.png", "b/1.png"))
    os.remove(fill() / "a/1.png")
    with pytest.raises(FileNotFoundError):
        listing.read("a/1.png")


def two_forms_are_two_names(folder) -> bool:
    (folder / NFC).mkdir()
    return not (folder / NFD).exists()


def test_a_class_in_two_unicode_forms_is_warned_of_by_name(fill, tmp_path):
    if not two_forms_are_two_names(tmp_path):
        pytest.skip("this file system knows one form only")
    fill(f"{NFC}/1.png", f"{NFD}/1.png", "b/1.png", f"b/{NFC}.png", f"b/{NFD}.png", f"{NFC}/{NFC}.png")
    with pytest.warns(UserWarning, match="2 names are there in two Unicode forms") as caught:
        listing = folder_listing(tmp_path)
    [said] = [str(one.message) for one in caught]
    assert f"{NFC} (NFD b'Cafe\\xcc\\x81', NFC b'Caf\\xc3\\xa9')" in said and f"b/{NFC}.png (NFD" in said
    assert listing.table["class_name"].nunique() == 3


def test_names_in_one_form_are_not_warned_of(fill):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder_listing(fill(f"{NFC}/1.png", f"b/{NFD}.png"))


def test_labels_and_paths_of_a_csv_in_two_unicode_forms_are_warned_of(fill, tmp_path):
    if not two_forms_are_two_names(tmp_path):
        pytest.skip("this file system knows one form only")
    fill(f"{NFC}/1.png", f"{NFD}/1.png")
    (tmp_path / "list.csv").write_text(f"path,label\n{NFC}/1.png,{NFC}\n{NFD}/1.png,{NFD}\n")
    with pytest.warns(UserWarning) as caught:
        csv_listing(tmp_path / "list.csv")
    labels, paths = (str(one.message) for one in caught)
    assert f"1 labels are there in two Unicode forms, which look alike and count as different: {NFC} (NFC" in labels
    assert f"1 paths are there in two Unicode forms, which look alike and count as different: {NFC}/1.png (NFC" in paths


@pytest.mark.parametrize("written, there", [(NFC, NFD), (NFD, NFC)])
def test_a_path_in_the_other_unicode_form_is_said_to_be(fill, tmp_path, written, there):
    if not two_forms_are_two_names(tmp_path):
        pytest.skip("this file system knows one form only")
    (tmp_path / NFC).rmdir()
    fill(f"Zo\u00eb/{there}/1.png")
    (tmp_path / "list.csv").write_text(f"path,label\nZo\u00eb/{written}/1.png,k\nZo\u00eb/{written}/2.png,k\n")
    with pytest.raises(ValueError, match=r"list\.csv: 2 lines cannot be used") as caught:
        csv_listing(tmp_path / "list.csv")
    first, second = str(caught.value).split("\n")[1:]
    assert "line 2: " in first and "in this Unicode form (" in first and "the disk has it in another (" in first
    assert "line 3: " in second and second.endswith(f"no such file below {tmp_path}")
