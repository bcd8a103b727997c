import numpy as np
import pandas as pd
import pytest

from pfml.data.split import check_disjoint, zero_shot_split


@pytest.fixture
def items():
    return pd.DataFrame({"item": range(60), "class_id": np.repeat(range(10), 6), "class_name": "x"})


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)


def test_halves_share_no_class_and_validation_lies_inside_training(items, images):
    table = zero_shot_split(items, images, train_classes=5, validation_classes=2)
    classes = table.groupby("split")["class_id"].agg(set)
    assert classes["train"] == {0, 1, 2, 3, 4} and classes["test"] == {5, 6, 7, 8, 9}
    held_out = table[table["validation"]]
    assert held_out["class_id"].nunique() == 2 and set(held_out["split"]) == {"train"}
    assert len(table) == 60 and table["item"].tolist() == list(range(60))


def test_an_image_in_both_halves_is_refused(items, images):
    images[59] = images[0]
    with pytest.raises(ValueError, match="share 1 image"):
        zero_shot_split(items, images, 5, 0)


def test_a_class_in_both_halves_is_refused():
    table = pd.DataFrame({"split": ["train", "test"], "class_id": [1, 1], "sha256": ["a", "b"]})
    with pytest.raises(ValueError, match="share 1 class"):
        check_disjoint(table)


@pytest.mark.parametrize("train, validation, what", [(10, 0, "train_classes"), (0, 0, "train_classes"),
                                                     (5, 5, "validation_classes")])  # fmt: skip
def test_impossible_splits_are_refused(items, images, train, validation, what):
    with pytest.raises(ValueError, match=what):
        zero_shot_split(items, images, train, validation)
