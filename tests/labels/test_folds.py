import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfml.labels.folds import fold_rows, validation_folds


def ring(num_classes: int, folds: int, fold: int) -> tuple[list, list]:
    """The authors' description, walked: from the fold's start the training classes, then the validation classes."""
    start, validation = fold * num_classes // folds, num_classes // folds
    walk = [(start + step) % num_classes for step in range(num_classes)]
    return walk[: num_classes - validation], walk[num_classes - validation :]


def test_four_folds_of_eight_classes_by_hand():
    """Fold 0 trains on 0-5 and validates on 6-7; fold 1 starts at 2, trains on 2-7 and wraps around to 0-1."""
    assert validation_folds(8).tolist() == [1, 1, 2, 2, 3, 3, 0, 0]


def test_cub_has_quarters_and_cars_two_classes_that_never_validate():
    assert validation_folds(100).tolist() == [1] * 25 + [2] * 25 + [3] * 25 + [0] * 25
    assert validation_folds(98).tolist() == [1] * 24 + [-1] + [2] * 24 + [3] * 24 + [-1] + [0] * 24


@given(st.integers(2, 12), st.integers(0, 300))
def test_every_fold_is_the_described_walk(folds, more):
    classes = folds + more
    fold_of = validation_folds(classes, folds)
    for fold in range(folds):
        train, validation = ring(classes, folds, fold)
        assert set(np.flatnonzero(fold_of == fold)) == set(validation)
        assert set(np.flatnonzero(fold_of != fold)) == set(train)


@pytest.mark.parametrize("classes, folds, what", [(3, 4, "num_classes"), (8, 1, "folds"), (8, 0, "folds")])
def test_impossible_folds_are_refused(classes, folds, what):
    with pytest.raises(ValueError, match=f"^{what}: expected"):
        validation_folds(classes, folds)


@pytest.fixture
def split():
    """Training classes 0-3 (one never validates), test class 4; two images each."""
    return pd.DataFrame({"split": ["train"] * 8 + ["test"] * 2, "fold": np.repeat([1, 2, -1, 0, -1], 2)})


def test_the_images_of_a_fold_are_the_training_half(split):
    train, validation = fold_rows(split, 1)
    assert np.flatnonzero(validation).tolist() == [0, 1]
    assert np.flatnonzero(train).tolist() == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("fold", [-1, 3])
def test_an_unknown_fold_is_refused(split, fold):
    with pytest.raises(ValueError, match=rf"fold: expected one of \[0, 1, 2\], found {fold}"):
        fold_rows(split, fold)


def test_a_split_without_folds_is_refused(split):
    with pytest.raises(ValueError, match="split: expected a column fold"):
        fold_rows(split.drop(columns="fold"), 0)
