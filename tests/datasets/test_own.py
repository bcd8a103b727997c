"""Folders and CSV files as people have them, read as listings."""

import io
import os
import warnings

import numpy as np
import pytest
from PIL import Image

from pfml.datasets.own import csv_listing, folder_listing, natural
from tests.datasets.pictures import encoded


def png(value: int = 0) -> bytes:
    return encoded(Image.new("L", (4, 3), value))


@pytest.fixture
def fill(tmp_path):
    """Write files, given by their names below the test's folder; each image has a content of its own."""

    def _fill(*names: str, root=tmp_path):
        for value, name in enumerate(names):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(png(value))
        return root

    return _fill


@pytest.fixture
def table(tmp_path, fill):
    """Write a CSV with these lines beside the images a.png to f.png."""
    fill(*(f"{letter}.png" for letter in "abcdef"))

    def _table(*lines: str, encoding="utf-8"):
        (tmp_path / "list.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
        return tmp_path / "list.csv"

    return _table


def test_numbers_in_names_count_as_numbers():
    names = ["img10", "img9", "10", "b", "2", "img009", "B", "a2b10", "a2b9", ""]
    assert sorted(names, key=natural) == ["", "2", "10", "B", "a2b9", "a2b10", "b", "img009", "img9", "img10"]


def test_one_folder_a_class_in_natural_order(fill):
    root = fill("10/1.png", "9/10.PNG", "9/9.jpeg", "cat dog/ä.webp")
    listing = folder_listing(root)
    assert listing.table.to_dict("list") == {
        "name": ["9/9.jpeg", "9/10.PNG", "10/1.png", "cat dog/ä.webp"],
        "class_id": [0, 0, 1, 2],
        "class_name": ["9", "9", "10", "cat dog"],
    }
    assert [listing.read(name) for name in listing.table["name"]] == [png(2), png(1), png(0), png(3)]
    assert folder_listing(str(root)).table.equals(listing.table)


def test_a_thousand_classes(fill):
    listing = folder_listing(fill(*(f"c{i}/x.png" for i in range(1000))))
    assert listing.table["class_name"].tolist() == [f"c{i}" for i in range(1000)]


def test_other_files_are_ignored_and_counted(fill):
    root = fill("a/1.png", "a/notes.txt", "a/.DS_Store", "b/._1.png", "b/1.jpg", "README", "b/2.txt", ".git/x.png")
    with pytest.warns(UserWarning, match=r"ignored 5 files .*: \.txt 2, hidden 2, without extension 1"):
        listing = folder_listing(root)
    assert listing.table["name"].tolist() == ["a/1.png", "b/1.jpg"]


def test_links_are_followed_and_a_clean_folder_warns_of_nothing(fill, tmp_path):
    root = fill("data/a/1.png", "elsewhere/2.png")
    (root / "data/b").symlink_to(root / "elsewhere")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        listing = folder_listing(root / "data")
    assert listing.table["name"].tolist() == ["a/1.png", "b/2.png"] and listing.read("b/2.png") == png(1)


@pytest.mark.parametrize(
    "names, what",
    [
        (["a/1.png", "loose.png"], r"loose\.png: expected images inside class folders, found 1 beside"),
        (["a/1.png", "b/notes.txt"], r"b: expected images of class b, found none"),
        (["train/a/1.png", "test/b/1.png"], r"test.b: expected images right inside .* CSV"),
        (["a/1.png", "a/deep/2.png"], r"deep: expected images right inside class folder a"),
        ([".hidden/1.png"], r"expected one folder a class, found no folder"),
    ],
)
def test_folders_that_leave_the_class_open_are_refused(fill, names, what):
    with pytest.raises(ValueError, match=what):
        folder_listing(fill(*names))


def test_no_folder_there(fill, tmp_path):
    with pytest.raises(ValueError, match=r"gone: expected a folder .*, found nothing"):
        folder_listing(tmp_path / "gone")
    with pytest.raises(ValueError, match="found a file"):
        folder_listing(fill("a.png") / "a.png")


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_name_that_is_no_utf8_is_refused(fill, tmp_path):
    root = fill("a/1.png")
    try:
        os.rename(root / "a/1.png", os.fsencode(root) + b"/a/\xff.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    with pytest.raises(ValueError, match=r"UTF-8, found b'\\xff\.png'"):
        folder_listing(root)


def test_csv_of_paths_and_labels(table, tmp_path):
    listing = csv_listing(table("label,path,more", "10,b.png,x", '"9", a.png ,', "cat,./c.png,", "9,d.png,"))
    assert listing.table.to_dict("list") == {
        "name": ["b.png", "a.png", "c.png", "d.png"],
        "class_id": [1, 0, 2, 0],
        "class_name": ["10", "9", "cat", "9"],
    }
    assert listing.read("b.png") == png(1)


def test_csv_with_a_split_numbers_training_classes_first(table):
    listing = csv_listing(table("path,label,split", "a.png,x,test", "b.png,z,train", "c.png,y,train", "d.png,x,test"))
    assert listing.table["class_id"].tolist() == [2, 1, 0, 2]
    assert listing.table["split"].tolist() == ["test", "train", "train", "test"]


def test_spaces_in_the_header_and_a_repeated_column_without_use_are_no_matter(table):
    listing = csv_listing(table("more, label ,path,more,,", "x,9,a.png,y,,"))
    assert listing.table["class_name"].tolist() == ["9"] and listing.table["name"].tolist() == ["a.png"]


@pytest.mark.skipif(os.name != "posix", reason="a backslash parts folders elsewhere")
def test_a_backslash_may_be_part_of_a_name(fill, table):
    fill("b\\c.png")
    assert csv_listing(table("path,label", "b\\c.png,1")).table["name"].tolist() == ["b\\c.png"]


def test_csv_as_spreadsheets_write_it(table, tmp_path):
    path = table("path,label", "a.png,Ä", encoding="utf-8-sig")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert csv_listing(path).table["class_name"].tolist() == ["Ä"]


def test_csv_paths_are_relative_to_the_csv(fill, tmp_path, monkeypatch):
    fill("lists/x.csv", "images/a.png")
    (tmp_path / "lists/x.csv").write_text("path,label\n../images/a.png,a\n")
    monkeypatch.chdir("/")
    listing = csv_listing(tmp_path / "lists/x.csv")
    assert listing.read(listing.table["name"][0]) == png(1)


@pytest.mark.parametrize(
    "lines, what",
    [
        (["path,class", "a.png,1"], r"line 1: .* missing label, found \['path', 'class'\]"),
        (["path;label", "a.png;1"], r"line 1: .* missing label, path"),
        (["path,label"], "at least one image"),
        (
            ["a.png,1", "b.png,2"],
            r"line 1: expected a header path,label\[,split\] .*found an image's line: \['a.png'",
        ),
        (["birds\\a.JPG,1"], "line 1: expected a header"),
        (
            ["path,label,label", "a.png,1,2"],
            r"line 1: expected each column once, found label again in \['path'",
        ),
        (
            ["split,path,label,path, split", "train,a.png,1,a.png,test"],
            "each column once, found path, split again",
        ),
        (["path,label", "birds\\a.png,1"], r"line 2: birds\\a\.png: no such file .*: a Windows path; expected / betw"),
        (["path,label", "C:\\b\\a.png,1"], r"line 2: C:\\b\\a\.png: no such file .*: a Windows path; .*and no drive"),
        (["path,label", "c:/b/a.png,1"], r"line 2: c:/b/a\.png: .*: a Windows path; expected .*and no drive"),
        ([""], "line 1: .* missing label, path"),
        (["path,label", "a.png,1", "b.png,"], "line 3: expected a path and a label, found 'b.png' and ''"),
        (["path,label", ",1"], "line 2: expected a path and a label, found '' and '1'"),
        (["path,label", "a.png,1", "b.png,1", "./a.png,2"], r"line 4: \./a\.png: listed before, in line 2"),
        (["path,label", "a.png,1", "gone.png,1"], r"line 3: gone\.png: no such file"),
        (["path,label", "..,1"], r"line 2: \.\.: no such file"),
        (["path,label,split", "a.png,1,train", "b.png,2,val"], "line 3: split: expected train or test, found 'val'"),
        (["path,label,split", "a.png,1,train", "b.png,1,test"], "line 3: class '1' is in both halves .* line 2"),
        (["path,label", "a.png"], "line 2: expected 2 fields, found 1"),
        (["path,label", "a.png,Smith, John"], "line 2: expected 2 fields, found 3; put quotes"),
        (["path,label", 'a.png,"open'], "line 2: not readable as CSV"),
    ],
)
def test_a_csv_that_cannot_be_used_names_file_and_line(table, lines, what):
    with pytest.raises(ValueError, match=rf"(?s)list\.csv: .*{what}"):
        csv_listing(table(*lines))


def test_many_problems_are_counted(table):
    with pytest.raises(ValueError, match="40 lines cannot be used") as caught:
        csv_listing(table("path,label", *(f"gone{i}.png,1" for i in range(40))))
    assert "line 6: gone4.png" in str(caught.value) and "and 35 more" in str(caught.value)
    assert "gone5" not in str(caught.value)


def test_text_that_would_break_a_table_is_refused(table, fill):
    with pytest.raises(ValueError, match=r"line 3: expected printable text, found 'a\.png' and 'x\\ry'"):
        csv_listing(table("path,label", 'a.png,"x\ry"'))
    with pytest.raises(ValueError, match="expected names of printable UTF-8, found"):
        folder_listing(fill("birds/ow\rl/1.png") / "birds")


def test_a_csv_in_another_encoding(table, tmp_path):
    with pytest.raises(ValueError, match="expected UTF-8"):
        csv_listing(table("path,label", "a.png,Ä", encoding="latin-1"))
    with pytest.raises(ValueError, match="cannot be read"):
        csv_listing(tmp_path / "gone.csv")


def test_listings_travel_to_other_processes(table, fill, tmp_path):
    import pickle

    listing = pickle.loads(pickle.dumps(csv_listing(table("path,label", "a.png,1"))))
    assert np.asarray(Image.open(io.BytesIO(listing.read("a.png")))).shape == (3, 4)
