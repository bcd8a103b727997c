"""Which classes are confused with which, from nearest class means or from your own list.

All functions use one format, called `confusable`: a list of num_classes vectors. Vector c holds the classes that
samples of training class c may be taken for. Training classes are numbered from 0 in official order.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pfml.labels.noise import check_labels


def check_confusable(confusable: Sequence, num_classes: int, where: str = "confusable") -> list[np.ndarray]:
    """`confusable` as num_classes int64 vectors.

    Raises:
        ValueError: another length; or a vector that holds a class out of range, a class twice or the class itself.
    """
    if len(confusable) != num_classes:
        raise ValueError(f"{where}: expected one list for each of {num_classes} classes, found {len(confusable)}")
    rows = [np.asarray(row) for row in confusable]
    for c, row in enumerate(rows):
        if len(row) and not (row.dtype.kind in "iu" and row.min() >= 0 and row.max() < num_classes):
            raise ValueError(f"{where}: class {c}: expected classes 0 to {num_classes - 1}, found {row.tolist()}")
        if c in row or len(set(row.tolist())) != len(row):
            raise ValueError(f"{where}: class {c}: expected other classes, each once, found {row.tolist()}")
    return [row.astype(np.int64) for row in rows]


def nearest_classes(embeddings, labels, num_classes: int, k: int) -> list[np.ndarray]:
    """The k classes whose mean embedding is nearest to that of each class, nearest first, by cosine.

    Args:
        embeddings: (n, D) of any scale, normalised to length 1 before the mean and after.
        labels: (n,) true labels, integers in [0, num_classes).
        k: number of classes, 1 to num_classes - 1.

    Returns:
        num_classes vectors (k,) int64. Classes at equal distance come in the order of their numbers. Two machines may
        round differently and order near ties differently: save the result with write_confusable where that matters.

    Raises:
        ValueError: shapes that do not fit, k out of range, a class without samples, an embedding that is not finite or
            zero, or a class whose embeddings cancel.
    """
    embeddings = np.asarray(embeddings, dtype=np.float64)
    truth = check_labels(labels, num_classes)
    if embeddings.ndim != 2 or len(embeddings) != len(truth):
        raise ValueError(f"embeddings: expected ({len(truth)}, D), one line a label, found {embeddings.shape}")
    if not 1 <= k < num_classes:
        raise ValueError(f"k: expected 1 to {num_classes - 1}, found {k}")
    empty = np.flatnonzero(np.bincount(truth, minlength=num_classes) == 0)
    if len(empty):
        raise ValueError(f"labels: expected samples of every class, found none of {len(empty)}: {empty[:5].tolist()}")
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("embeddings: expected finite vectors other than zero")
    order = np.argsort(truth, kind="stable")
    starts = np.searchsorted(truth[order], np.arange(num_classes))
    sums = np.add.reduceat((embeddings / lengths)[order], starts)
    size = np.linalg.norm(sums, axis=1, keepdims=True)
    if not (size > 1e-12).all():
        raise ValueError(f"embeddings: those of class {int(np.argmin(size))} cancel, their mean has no direction")
    means = sums / size
    nearest = []
    for start in range(0, num_classes, 1024):  # in blocks: all pairs of 11,318 classes would need a gigabyte
        similarity = means[start : start + 1024] @ means.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -np.inf
        nearest.extend(np.argsort(-similarity, axis=1, kind="stable")[:, :k])
    return nearest


def write_confusable(path: Path, confusable: Sequence, class_ids: Sequence[int]) -> None:
    """Write a CSV with a line for each pair: class_id, confusable_id, official numbers as in the split's CSV.

    Args:
        confusable: num_classes vectors, as `semantic` takes them.
        class_ids: (num_classes,) official number of each training class, in order.
    """
    pairs = [
        (class_ids[c], class_ids[t]) for c, row in enumerate(check_confusable(confusable, len(class_ids))) for t in row
    ]
    pd.DataFrame(pairs, columns=["class_id", "confusable_id"]).to_csv(path, index=False)


def read_confusable(path: Path, class_ids: Sequence[int]) -> list[np.ndarray]:
    """Read your own list of confusable classes, or one of write_confusable, as num_classes vectors in file order.

    A line has one direction: "5,7" lets samples of 5 become 7, not those of 7 become 5.

    Raises:
        ValueError: other columns; a line other than two class_ids of training classes (those of data/split/<name>.csv,
            from 0); a class confused with itself; or a pair twice.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    if not lines or lines[0] != ["class_id", "confusable_id"]:
        raise ValueError(
            f"{path}: expected the columns class_id,confusable_id, found {','.join(lines[0]) if lines else 'nothing'}"
        )
    label = {int(number): c for c, number in enumerate(class_ids)}
    confusable = [[] for _ in label]
    for number, line in enumerate(lines[1:], start=2):
        try:
            class_id, other_id = map(int, line)
        except ValueError:
            raise ValueError(f"{path}, line {number}: expected two numbers, found {','.join(line)!r}") from None
        for one in (class_id, other_id):
            if one not in label:
                raise ValueError(f"{path}, line {number}: expected class_ids of training classes, found {one}")
        confusable[label[class_id]].append(label[other_id])
    return check_confusable(confusable, len(label), f"{path}, classes counted from 0 in training order")


def keep_classes(confusable: Sequence, kept: Sequence[int]) -> list[np.ndarray]:
    """`confusable` of a run that trains on the classes `kept` only (labels, ascending), numbered again from 0."""
    label = {int(c): new for new, c in enumerate(kept)}
    return [np.array([label[int(t)] for t in confusable[c] if int(t) in label], dtype=np.int64) for c in kept]
