import numpy as np
import pandas as pd
import pytest

from pfml.labels.split import check_disjoint, content, zero_shot_split


@pytest.fixture
def items():
    return pd.DataFrame({"item": range(60), "class_id": np.repeat(range(10), 6), "class_name": "x"})


@pytest.fixture
def digests():
    return [f"{i:064x}"[::-1] for i in range(60)]


def test_halves_share_no_class_and_validation_lies_inside_training(items, digests):
    table = zero_shot_split(items, digests, train_classes=5, validation_classes=2)
    classes = table.groupby("split")["class_id"].agg(set)
    assert classes["train"] == {0, 1, 2, 3, 4} and classes["test"] == {5, 6, 7, 8, 9}
    held_out = table[table["validation"]]
    assert held_out["class_id"].nunique() == 2 and set(held_out["split"]) == {"train"}
    assert len(table) == 60 and table["item"].tolist() == list(range(60))


def test_an_image_in_both_halves_is_refused(items, digests):
    digests[59] = digests[0]
    with pytest.raises(ValueError, match="share 1 image"):
        zero_shot_split(items, digests, 5, 0)


def test_the_items_with_the_shared_image_are_named(items, digests):
    digests[59] = digests[7]
    with pytest.raises(ValueError, match=r"items 7 \(train\) and 59 \(test\), sha256 [0-9a-f]{16};"):
        zero_shot_split(items, digests, 5, 0)


def test_the_same_image_twice_in_one_half_is_no_leak(items, digests):
    digests[1], digests[58] = digests[0], digests[59]
    zero_shot_split(items, digests, 5, 0)


def test_a_class_in_both_halves_is_refused():
    table = pd.DataFrame({"split": ["train", "test"], "class_id": [1, 1], "sha256": ["a", "b"]})
    with pytest.raises(ValueError, match="share 1 class"):
        check_disjoint(table)
    with pytest.raises(ValueError, match=r"share 1 class\(es\): 1 \(Laysan_Albatross\);"):
        check_disjoint(table.assign(class_name="Laysan_Albatross"))


@pytest.mark.parametrize("train, validation, what", [(10, 0, "train_classes"), (0, 0, "train_classes"),
                                                     (5, 5, "validation_classes")])  # fmt: skip
def test_impossible_splits_are_refused(items, digests, train, validation, what):
    with pytest.raises(ValueError, match=what):
        zero_shot_split(items, digests, train, validation)


def test_without_folds_the_table_has_no_such_column(items, digests):
    table = zero_shot_split(items, digests, 5, 2)
    assert table.columns.tolist() == ["item", "class_id", "class_name", "split", "validation", "sha256"]
    assert sorted(set(table.loc[table["validation"], "class_id"])) == [0, 2]
    assert table["sha256"].tolist() == [digest[:16] for digest in digests]


def test_halves_fixed_by_the_source_are_honoured(items, digests):
    items["split"] = np.where(items["class_id"] % 2 == 0, "test", "train")
    table = zero_shot_split(items, digests, None, 2)
    assert set(table.loc[table["split"] == "train", "class_id"]) == {1, 3, 5, 7, 9}
    assert set(table.loc[table["validation"], "class_id"]) == {1, 5}
    zero_shot_split(items, digests, 5, 2)
    with pytest.raises(ValueError, match="train_classes: the source's own split has 5 training classes, expected 4"):
        zero_shot_split(items, digests, 4, 2)


def test_a_source_that_puts_a_class_into_both_halves_is_refused(items, digests):
    items["split"] = np.where(items["class_id"] < 5, "train", "test")
    items.loc[3, "split"] = "test"
    with pytest.raises(ValueError, match=r"share 1 class\(es\): 0 \(x\)"):
        zero_shot_split(items, digests, None, 0)


@pytest.mark.parametrize("words", [["train", "valid"], ["train", None], ["train", "train"]])
def test_a_source_with_other_words_is_refused(items, digests, words):
    items["split"] = [words[c >= 5] for c in items["class_id"]]
    with pytest.raises(ValueError, match="items: column split: expected both 'train' and 'test'"):
        zero_shot_split(items, digests, None, 0)


def test_folds_number_the_training_classes_only(items, digests):
    items["class_id"] += 3  # official numbers need not start at 0
    table = zero_shot_split(items, digests, train_classes=8, validation_classes=0, folds=4)
    folds = table.groupby("class_id")["fold"].agg(lambda fold: fold.unique().tolist())
    assert folds.tolist() == [[1], [1], [2], [2], [3], [3], [0], [0], [-1], [-1]]
    assert table["fold"].dtype == np.int64


def test_more_folds_than_training_classes_are_refused(items, digests):
    with pytest.raises(ValueError, match=r"split\.folds: expected at most one for each of 3 training classes, found 4"):
        zero_shot_split(items, digests, 3, 0, folds=4)


def test_digests_and_items_must_be_as_many(items, digests):
    with pytest.raises(ValueError, match="digests: expected one for each of 60 items, found 59"):
        zero_shot_split(items, digests[:59], 5, 0)


def test_what_an_image_contains_comes_from_the_items_or_from_the_pixels(items, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    images[0] = 0
    images[9] = images[8]
    np.save(tmp_path / "images.npy", images)
    found = content(items, tmp_path)
    assert len(set(found)) == 59 and found[8] == found[9]
    assert found[0][:16] == "17b0761f87b081d5"  # SHA-256 of 48 zero bytes
    assert content(items.assign(sha256="known"), tmp_path / "absent") == ["known"] * 60


def test_without_halves_of_the_source_a_number_of_classes_is_needed(items, digests):
    with pytest.raises(ValueError, match="train_classes: expected 1 to 9, found None"):
        zero_shot_split(items, digests, None, 0)


def test_roles_of_the_source_are_kept_and_must_fit_the_halves(items, digests):
    """Queries and gallery of a test half, as In-shop Clothes has them."""
    items = items.assign(split=np.where(items["class_id"] < 5, "train", "test"))
    roles = pd.Series(np.where(items["split"] == "train", "train", np.where(items["item"] % 3, "gallery", "query")))
    table = zero_shot_split(items.assign(role=roles), digests, None, 1)
    assert list(table) == ["item", "class_id", "class_name", "split", "role", "validation", "sha256"]
    assert (table["role"] == roles).all() and "role" not in zero_shot_split(items, digests, None, 1)
    for wrong, message in (
        (roles.where(items["item"] > 0, "query"), "column role: expected train in the train half, found query, train"),
        (roles.replace("query", "gallery"), "expected gallery, query in the test half, found gallery"),
        (roles.replace("gallery", "test"), "expected gallery, query in the test half, found query, test"),
    ):
        with pytest.raises(ValueError, match=message):
            zero_shot_split(items.assign(role=wrong), digests, None, 1)
