"""Zero-shot split: the training and the test half share no class; some training classes can be held out to choose
settings on, so that the test half is never looked at for that.
"""

import hashlib

import numpy as np
import pandas as pd


def zero_shot_split(
    items: pd.DataFrame, images: np.ndarray, train_classes: int, validation_classes: int
) -> pd.DataFrame:
    """One line per image: where it belongs and what it contains.

    Args:
        items: columns item, class_id (0-based, in the dataset's official order), class_name.
        images: (n, ...) uint8, row i belongs to item i.
        train_classes: the first so many class numbers are the training half, the rest the test half.
        validation_classes: how many training classes are set aside, evenly spaced over the half.

    Returns:
        columns item, class_id, class_name, split ("train" or "test"), validation (True for images of the set-aside
        training classes), sha256 (first 16 digits of the image's content).

    Raises:
        ValueError: too few classes for what is asked, or an image that stands in both halves.
    """
    classes = np.unique(items["class_id"])
    if not 0 < train_classes < len(classes):
        raise ValueError(f"train_classes: expected 1 to {len(classes) - 1}, found {train_classes}")
    if not 0 <= validation_classes < train_classes:
        raise ValueError(
            f"split.validation_classes: expected 0 to {train_classes - 1} (one training class must remain), "
            f"found {validation_classes}"
        )
    training = classes[:train_classes]
    held_out = training[np.arange(validation_classes) * train_classes // max(validation_classes, 1)]
    table = items[["item", "class_id", "class_name"]].copy()
    table["split"] = np.where(items["class_id"].isin(training), "train", "test")
    table["validation"] = items["class_id"].isin(held_out)
    table["sha256"] = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:16] for image in images]
    check_disjoint(table)
    return table


def check_disjoint(table: pd.DataFrame) -> None:
    """Raises ValueError if the two halves share a class or an image (by content)."""
    train, test = (table[table["split"] == half] for half in ("train", "test"))
    for column, what in (("class_id", "class"), ("sha256", "image")):
        shared = sorted(set(train[column]) & set(test[column]))
        if shared:
            raise ValueError(f"train and test share {len(shared)} {what}(es): {shared[:5]}; the split is not zero-shot")
