"""Lists in the format of PRISM: invented files of the same layout, small enough to count by hand."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from pfml.labels.noise import corrupt_labels
from pfml.labels.noise_list import import_list
from tests.conftest import REAL, needs_real

# Three training classes with three images each, named as inside the archive of CUB-200-2011.
NAMES = [f"images/{c:03}.Bird_{c}/Bird_{c}_{i:04}.jpg" for c in (1, 2, 3) for i in range(3)]
TRUTH = np.repeat([0, 1, 2], 3)


@pytest.fixture
def write(tmp_path):
    def _write(labels, names=NAMES, head="/data/CUB_200_2011/", more=""):
        file = tmp_path / "CUB_0.2noised_train.csv"
        file.write_text("".join(f"{head}{name},{label}\n" for name, label in zip(names, labels)) + more)
        return file

    return _write


def test_a_symmetric_list_counts_classes_from_one(write):
    found = import_list(write([1, 3, 1, 2, 2, 1, 3, 3, 3]), NAMES, TRUTH, 3, numbering=1)
    assert found.noisy.tolist() == [0, 2, 0, 1, 1, 0, 2, 2, 2] and found.noisy.dtype == np.int64
    assert found.flipped == 2 / 9
    assert not (found.out_of_range or found.missing or found.unknown or found.repeated or found.emptied)
    assert str(found) == "22.22% of 9 training labels moved"


def test_lines_may_stand_in_any_order_and_start_anywhere(write):
    order = [8, 0, 5, 2, 7, 1, 3, 6, 4]
    labels = np.array([0, 2, 0, 1, 1, 0, 2, 2, 2])
    for head in ("", "/images of/mine/", "C:\\data\\"):
        file = write(labels[order], [NAMES[i] for i in order], head)
        assert import_list(file, NAMES, TRUTH, 3, numbering=0).noisy.tolist() == labels.tolist()


def test_shorter_paths_than_names_and_a_blank_before_the_label(tmp_path):
    file = tmp_path / "list.txt"
    labels = [2, 1, 1, 2, 2, 2, 3, 3, 1]
    file.write_text("\n\n".join(f"{name.split('/', 1)[1]} {label}" for name, label in zip(NAMES, labels)))
    assert import_list(file, NAMES, TRUTH, 3, numbering=1).noisy.tolist() == [1, 0, 0, 1, 1, 1, 2, 2, 0]


def test_a_file_of_the_same_name_in_another_folder_is_another_image(write):
    names = ["cars/a/0001.jpg", "cars/b/0001.jpg", "cars/b/0002.jpg"]
    file = write([1, 2, 2, 1], ["a/0001.jpg", "b/0001.jpg", "other/0002.jpg", "0001.jpg"], head="")
    found = import_list(file, names, [0, 1, 1], 2, numbering=1)
    assert found.unknown == ["other/0002.jpg", "0001.jpg"]  # a bare name that two images have belongs to neither
    assert found.missing == ["cars/b/0002.jpg"]


def test_the_flaws_are_reported_and_the_true_label_kept(write):
    """A test class's number (4, as PRISM's 101), a line lacking, one twice, one of another dataset, class 2 emptied."""
    labels = [1, 4, 1, 1, 1, 3, 3, 3]
    more = f"/data/{NAMES[0]},1\n/data/images/101.Bird/Bird_0001.jpg,1\n"
    found = import_list(write(labels, more=more), NAMES, TRUTH, 3, numbering=1)
    assert found.noisy.tolist() == [0, 0, 0, 0, 0, 2, 2, 2, 2]
    assert found.out_of_range == [NAMES[1]] and found.missing == [NAMES[8]] and found.repeated == [NAMES[0]]
    assert found.unknown == ["/data/images/101.Bird/Bird_0001.jpg"] and found.emptied == [1]
    assert found.flipped == 3 / 9
    assert str(found) == (
        "33.33% of 9 training labels moved; "
        f"1 labels outside the training classes (true label kept), such as {NAMES[1]}; "
        f"1 images in no line (true label kept), such as {NAMES[8]}; "
        "1 lines of no training image (passed over), such as /data/images/101.Bird/Bird_0001.jpg; "
        f"1 images in several lines, such as {NAMES[0]}; 1 emptied classes, such as 1"
    )


def test_labels_below_the_first_class_are_out_of_range_too(write):
    found = import_list(write([-1, 0, 1, 2, 2, 2, 3, 3, 3]), NAMES, TRUTH, 3, numbering=1)
    assert found.out_of_range == NAMES[:2] and found.flipped == 0


def test_a_list_that_dissolves_a_class_and_numbers_anew(write):
    """As PRISM's small-cluster lists: class 0 is spread over the others, which are numbered as they first appear."""
    found = import_list(write([0, 1, 1, 1, 1, 1, 0, 0, 0]), NAMES, TRUTH, 3, numbering="matched")
    assert found.noisy.tolist() == [2, 1, 1, 1, 1, 1, 2, 2, 2]
    assert found.emptied == [0] and found.flipped == 3 / 9 and not found.out_of_range


def test_a_list_label_without_a_class_of_its_own_takes_a_free_one(write):
    """5 shares most with class 0, 9 with class 1; 7 shares only with class 1, which 9 has: class 2 is free."""
    found = import_list(write([5, 5, 5, 9, 9, 7, 5, 5, 9]), NAMES, TRUTH, 3, numbering="matched")
    assert found.noisy.tolist() == [0, 0, 0, 1, 1, 2, 0, 0, 1]


def test_a_comma_in_a_path_is_part_of_it(write):
    names = ["Ram C-V, 2012/0001.jpg", "Ram C-V, 2012/0002.jpg"]
    assert import_list(write([2, 1], names), names, [0, 0], 2, numbering=1).noisy.tolist() == [1, 0]


@pytest.mark.parametrize(
    "labels, numbering, what",
    [
        ([1, 1, 1, 2, 2, 2, 3, 3, 3], 0, "numbering: with 0 for the first class 0.0% .* with 1 100.0%"),
        ([0, 0, 0, 1, 1, 1, 2, 2, 2], 1, "numbering: with 1 for the first class 0.0% .* with 0 100.0%"),
        ([1] * 9, 2, "numbering: expected 0, 1 or 'matched', found 2"),
        ([1, 2, 3, 4, 1, 2, 3, 4, 1], "matched", "expected at most 3 different labels, one a class, found 4"),
        (["1", "", "1"], 1, "line 2: expected 'path,label' with an integer label"),
        (["1", "one", "1"], 1, "line 2: expected 'path,label' with an integer label"),
        ([], 1, "expected lines of training images, found none: it is empty"),
    ],
)
def test_unusable_lists_are_refused(write, labels, numbering, what):
    with pytest.raises(ValueError, match=what):
        import_list(write(labels), NAMES, TRUTH, 3, numbering)


def test_one_image_with_two_labels_is_refused(write):
    with pytest.raises(ValueError, match=r"line 10: .*Bird_1_0000.jpg has two labels, 1 and 2"):
        import_list(write(TRUTH + 1, more=f"/data/{NAMES[0]},2\n"), NAMES, TRUTH, 3, 1)


def test_a_list_of_another_dataset_is_refused(write):
    file = write([1, 2], ["bicycle_final/1.JPG", "bicycle_final/2.JPG"])
    with pytest.raises(ValueError, match=r"found none: '/data/CUB_200_2011/bicycle_final/1\.JPG' ends with none"):
        import_list(file, NAMES, TRUTH, 3, 1)


@pytest.mark.parametrize("names, found", [(NAMES[:8], "8 among 8"), (NAMES[:8] + NAMES[:1], "8 among 9")])
def test_names_must_be_different_and_as_many_as_labels(write, names, found):
    with pytest.raises(ValueError, match=f"names: expected 9 different ones, one a label, found {found}"):
        import_list(write(TRUTH + 1), names, TRUTH, 3, 1)


@needs_real
def test_the_names_and_labels_of_cub(write):
    """A list over the first 50 classes of CUB-200-2011, with the off-by-one of PRISM's: the number after the last."""
    with zipfile.ZipFile(Path(REAL, "data/cub200_meta/cub200_meta.zip")) as file:
        lines = file.read("images_first50cls.txt").decode().split()
    names = [f"images/{name}" for name in lines[1::2]]
    truth = np.array([int(name.split("/")[1][:3]) for name in names]) - 1
    noisy, mask = corrupt_labels(truth, 0.2, 0, 50)
    labels = noisy + 1
    labels[mask.nonzero()[0][:6]] = 51
    found = import_list(write(labels, names), names, truth, 50, numbering=1)
    assert len(found.out_of_range) == 6 and not (found.missing or found.unknown or found.emptied)
    assert found.flipped == (round(0.2 * len(names)) - 6) / len(names)
    assert (found.noisy == np.where(labels == 51, truth, noisy)).all()
    relabelled = import_list(write(np.unique(noisy, return_index=True)[1][noisy], names), names, truth, 50, "matched")
    assert (relabelled.noisy == noisy).all()


def test_a_quoted_path_with_a_comma_is_that_path(tmp_path):
    (tmp_path / "list.csv").write_text('"/disk/2/im,6.PNG",1\n/disk/2/other.PNG,0\n')
    found = import_list(tmp_path / "list.csv", ["2/im,6.PNG", "2/other.PNG"], [0, 0], 2, 0)
    assert found.noisy.tolist() == [1, 0] and not found.unknown


@pytest.mark.parametrize("content", [b"a.jpg,99999999999999999999999\n", b"a.jpg,\xff\n"])
def test_a_line_that_is_no_label_names_the_file(tmp_path, content):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"list\.csv"):
        import_list(tmp_path / "list.csv", ["a.jpg"], [0], 1, 0)
