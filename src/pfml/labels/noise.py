"""Label noise: a fixed share of the training samples gets the label of another training class (paper, Sec. 4.3)."""

import numpy as np
import pandas as pd


def check_labels(labels, num_classes: int) -> np.ndarray:
    """`labels` as a new vector (n,) int64.

    Raises:
        ValueError: anything but a vector of integers in [0, num_classes).
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels: expected a vector of integers, found {labels.dtype} of shape {labels.shape}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
        raise ValueError(f"labels: expected 0 to {num_classes - 1}, found {labels.min()} to {labels.max()}")
    return labels.astype(np.int64)


def check_fraction(fraction: float) -> None:
    """Raises ValueError for a fraction outside [0, 1)."""
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction: expected a value in [0, 1), found {fraction}")


def corrupt_labels(labels, fraction: float, seed: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Move exactly round(fraction * n) samples, each to a uniformly drawn other class.

    Args:
        labels: (n,) integers in [0, num_classes).
        fraction: share of samples to move, in [0, 1).
        seed: of a Philox generator; the same seed gives the same result on every machine.
        num_classes: of the training half; test classes never become targets.

    Returns:
        noisy labels (n,) int64 and a boolean mask (n,) of the moved samples.

    Raises:
        ValueError: fraction outside [0, 1), labels out of range, or a single class and a fraction above 0.
    """
    check_fraction(fraction)
    noisy = check_labels(labels, num_classes)
    moved, mask = round(fraction * len(noisy)), np.zeros(len(noisy), dtype=bool)
    if moved and num_classes < 2:
        raise ValueError(f"num_classes: expected at least 2 to move labels between, found {num_classes}")
    if not moved:
        return noisy, mask
    # Raw Philox output and a stable sort, since numpy guarantees a generator's bit stream for ever, but its
    # `permutation` and `integers` only within a version.
    bits = np.random.Philox(key=seed).random_raw(len(noisy) + moved)
    mask[np.argsort(bits[: len(noisy)], kind="stable")[:moved]] = True
    # The bias of the remainder is num_classes / 2**64. A shift of 1 .. num_classes - 1 never gives the own class.
    shift = 1 + (bits[len(noisy) :] % np.uint64(num_classes - 1)).astype(np.int64)
    noisy[mask] = (noisy[mask] + shift) % num_classes
    return noisy, mask


def noise_manifest(split: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """The split with the labels that training will see, one line per image.

    Training classes are numbered 0 .. n-1 in the order of their class_id, test classes likewise from 0. Only labels of
    the training half move.

    Returns:
        columns item, split, role where the split has it, validation, true_label, noisy_label, corrupted.
    """
    table = split[[column for column in ("item", "split", "role", "validation") if column in split]].copy()
    table["true_label"] = split.groupby("split")["class_id"].transform(lambda ids: ids.rank(method="dense") - 1)
    table["true_label"] = table["true_label"].astype("int64")
    table["noisy_label"], table["corrupted"] = table["true_label"], False
    train = table["split"] == "train"
    truth = table.loc[train, "true_label"].to_numpy()
    noisy, mask = corrupt_labels(truth, fraction, seed, int(truth.max()) + 1)
    table.loc[train, "noisy_label"], table.loc[train, "corrupted"] = noisy, mask
    return table
