"""The class-disjoint cross validation of "A Metric Learning Reality Check" (Musgrave et al., ECCV 2020, arXiv
2003.08505).

The n training classes form a ring in official order. Fold k of F starts at class floor(k n / F). From there on n - v
classes train. The other v = floor(n / F) classes, those just before the start, validate:

    validation classes of fold k:  floor(k n / F) - v, ..., floor(k n / F) - 1   (modulo n)

So fold 0 validates on the last part, fold 1 on the first. Where F does not divide n some classes validate in no fold:
of Cars-196's 98, the 25th and the 74th. For F = 4 this is the arithmetic, order included, of the authors'
MLRCSplitManager (src/powerful_benchmarker/split_managers/mlrc_split_manager.py of
github.com/KevinMusgrave/powerful-benchmarker), which their docs/code/split_managers.md names as the paper's. The code
here is our own. Their ClassDisjointSplitManager (scikit-learn's KFold, unshuffled) numbers and rounds the parts in
another way. They halve the sorted classes: Stanford Online Products has 11,317 training classes there, 11,318 in its
official split.
"""

import numpy as np
import pandas as pd


def validation_folds(num_classes: int, folds: int = 4) -> np.ndarray:
    """(num_classes,) int64: the fold in which each training class, in official order, validates; -1 for none.

    Raises:
        ValueError: fewer than two folds, or fewer classes than folds.
    """
    if folds < 2:
        raise ValueError(f"folds: expected at least 2, found {folds}")
    if num_classes < folds:
        raise ValueError(f"num_classes: expected at least one class for each of {folds} folds, found {num_classes}")
    part = num_classes // folds
    fold_of = np.full(num_classes, -1, dtype=np.int64)
    for fold in range(folds):
        start = fold * num_classes // folds
        fold_of[np.arange(start - part, start) % num_classes] = fold
    return fold_of


def fold_rows(split: pd.DataFrame, fold: int) -> tuple[np.ndarray, np.ndarray]:
    """Which images of a split train and which validate in one fold.

    Args:
        split: table of zero_shot_split made with folds.
        fold: from 0.

    Returns:
        two boolean masks (n,) over the lines of the split: training and validation images. They share no class.
        Together they are the training half.

    Raises:
        ValueError: the split was made without folds, or has no such fold.
    """
    if "fold" not in split:
        raise ValueError("split: expected a column fold, found none; make the split with folds")
    train, validation = split["split"] == "train", split["fold"] == fold
    known = sorted(set(split.loc[train, "fold"]) - {-1})
    if fold not in known:
        raise ValueError(f"fold: expected one of {known}, found {fold}")
    return (train & ~validation).to_numpy(), validation.to_numpy()
