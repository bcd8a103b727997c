"""Zero-shot split: the training and the test half share no class. Some training classes can be held out as validation
classes, so that settings are chosen without the test half.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pfml.images.packed import read_items
from pfml.labels import verify
from pfml.labels.folds import validation_folds
from pfml.settings.files import write_whole


def write_split(
    name: str, raw: Path, folder: Path, train_classes: int | None, validation_classes: int, folds: int
) -> str:
    """Split the dataset in `raw`; write `folder`/<name>.csv, and a report on it to <name>.json.

    Returns:
        the report as text.

    Raises:
        ValueError: as zero_shot_split.
    """
    items = read_items(raw)
    classes = training_classes(train_classes, items)
    table = zero_shot_split(items, content(items, raw), classes, validation_classes, folds)
    write_whole(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    report = verify.report(table.assign(name=items["name"] if "name" in items else items["item"].map(str)))
    write_whole(folder / f"{name}.json", json.dumps(report, indent=1) + "\n")
    return verify.text(report, name)


def training_classes(setting: int | None, items: pd.DataFrame) -> int | None:
    """Number of training classes, the first in official order: the setting, or by default half of the classes, rounded
    down; None where the items have a column split.
    """
    return setting if setting or "split" in items else items["class_id"].nunique() // 2


def zero_shot_split(
    items: pd.DataFrame, digests: Sequence[str], train_classes: int | None, validation_classes: int, folds: int = 0
) -> pd.DataFrame:
    """Assign each image to the training or the test half, to the validation classes and to a fold. One line per image.

    Args:
        items: columns item, class_id (0-based, in the dataset's official order), class_name; optionally name, for
            messages, split ("train" or "test") where the source fixes the halves, and role ("train", "query" or
            "gallery") where it separates the queries of its test half from their gallery.
        digests: (n,) digests of the images' content, equal for equal images (see `content`).
        train_classes: number of training classes; these have the lowest class numbers. With a column split: None, or
            the number of training classes that it must have.
        validation_classes: number of held-out training classes, evenly spaced over the half.
        folds: of a cross validation over the training classes (4 in "A Metric Learning Reality Check"); 0 for none.

    Returns:
        columns item, class_id, class_name, split ("train" or "test"), role where the items have it, validation (True
        for images of held-out training classes), sha256 (first 16 digits of the digest) and, with folds, fold: the fold
        in which the image's class is a validation class (pfml.labels.folds); -1 for test classes and for classes that
        validate in no fold.

    Raises:
        ValueError: too few classes, another number of digests than items, a column split with other words than train
            and test, a column role that does not fit it, or a class or an image in both halves.
    """
    if len(items) != len(digests):
        raise ValueError(f"digests: expected one for each of {len(items)} items, found {len(digests)}")
    table = items[["item", "class_id", "class_name"]].copy()
    table["split"] = _halves(items, train_classes)
    if "role" in items:
        table["role"] = _roles(items["role"], table["split"])
    training = np.unique(table.loc[table["split"] == "train", "class_id"])
    if not 0 <= validation_classes < len(training):
        raise ValueError(
            f"validation_classes (of split, or of your dataset): expected 0 to {len(training) - 1}, since one of the "
            f"{len(training)} training classes must remain; found {validation_classes}"
        )
    held_out = training[np.arange(validation_classes) * len(training) // max(validation_classes, 1)]
    table["validation"] = items["class_id"].isin(held_out)
    table["sha256"] = [digest[:16] for digest in digests]
    check_disjoint(table.assign(name=items["name"]) if "name" in items else table)
    if folds > len(training):
        raise ValueError(
            f"split.folds: expected at most one for each of {len(training)} training classes, found {folds}"
        )
    if folds:
        fold_of = dict(zip(training, validation_folds(len(training), folds)))
        table["fold"] = table["class_id"].map(fold_of).fillna(-1).astype("int64")
    return table


def content(items: pd.DataFrame, folder: Path) -> list[str]:
    """A digest per image of data/raw/<name>: sha256 of items.csv, or else SHA-256 of the pixels in images.npy."""
    if "sha256" in items:
        return list(items["sha256"])
    images = np.load(folder / "images.npy", mmap_mode="r")
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images]


def check_disjoint(table: pd.DataFrame) -> None:
    """Raises ValueError, with examples, if the two halves share a class or an image (by content)."""
    train, test = (table[table["split"] == half] for half in ("train", "test"))
    for column, what in (("class_id", "class"), ("sha256", "image")):
        shared = sorted(set(train[column]) & set(test[column]))
        if shared:
            examples = ", ".join(_describe(value, column, train, test) for value in shared[:5])
            raise ValueError(f"train and test share {len(shared)} {what}(es): {examples}; the split is not zero-shot")


def _halves(items: pd.DataFrame, train_classes: int | None) -> np.ndarray:
    """(n,) "train" or "test": from the column split if there is one, else by class number."""
    classes = np.unique(items["class_id"])
    if "split" not in items:
        if train_classes is None or not 0 < train_classes < len(classes):
            raise ValueError(f"train_classes: expected 1 to {len(classes) - 1}, found {train_classes}")
        return np.where(items["class_id"].isin(classes[:train_classes]), "train", "test")
    words = set(items["split"])
    if words != {"train", "test"}:
        found = ", ".join(sorted(map(repr, words)))
        raise ValueError(f"items: column split: expected both 'train' and 'test' and nothing else, found {found}")
    count = items.loc[items["split"] == "train", "class_id"].nunique()
    if train_classes not in (None, count):
        raise ValueError(
            f"train_classes: the source's own split has {count} training classes, expected {train_classes}"
        )
    return items["split"].to_numpy()


def _roles(roles: pd.Series, halves: pd.Series) -> pd.Series:
    """`roles`, if training images have the role train and test images query or gallery, both of which must occur."""
    for half, expected in (("train", {"train"}), ("test", {"query", "gallery"})):
        if (found := set(roles[halves == half])) != expected:
            wanted, has = (", ".join(sorted(map(str, words))) for words in (expected, found))
            raise ValueError(f"items: column role: expected {wanted} in the {half} half, found {has}")
    return roles


def _describe(value, column: str, train: pd.DataFrame, test: pd.DataFrame) -> str:
    """A class with its name, an image with the first item of each half that has this content."""
    rows = [half[half[column] == value].iloc[0] for half in (train, test)]
    if column == "class_id":
        return f"{value} ({rows[0]['class_name']})" if "class_name" in train else f"{value}"
    if "name" in train or "item" in train:
        who = "name" if "name" in train else "item"
        return f"{who}s {rows[0][who]} (train) and {rows[1][who]} (test), sha256 {value}"
    return f"{value}"
