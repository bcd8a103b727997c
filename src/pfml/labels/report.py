"""Effect of label noise on each class: how many samples left it, how many came, and which share has the true label."""

import numpy as np
import pandas as pd


def noise_report(true_labels, noisy_labels, num_classes: int) -> pd.DataFrame:
    """One line per training class.

    Args:
        true_labels, noisy_labels: (n,) integers in [0, num_classes).

    Returns:
        columns label, n (samples truly of the class), moved_out, moved_in, labelled (samples that carry the label now),
        purity (share of those that are truly of the class; NaN where none carries it), emptied (had samples, none
        carries its label now).

    Raises:
        ValueError: vectors of different lengths, or labels out of range.
    """
    true_labels, noisy_labels = _checked(true_labels, noisy_labels, num_classes)
    moved = true_labels != noisy_labels
    count = lambda labels: np.bincount(labels, minlength=num_classes)  # noqa: E731
    n, labelled, kept = count(true_labels), count(noisy_labels), count(true_labels[~moved])
    return pd.DataFrame(
        {
            "label": np.arange(num_classes),
            "n": n,
            "moved_out": count(true_labels[moved]),
            "moved_in": count(noisy_labels[moved]),
            "labelled": labelled,
            "purity": np.where(labelled > 0, kept / np.maximum(labelled, 1), np.nan),
            "emptied": (n > 0) & (labelled == 0),
        }
    )


def transitions(true_labels, noisy_labels, num_classes: int) -> pd.DataFrame:
    """The non-zero entries of the noise transition matrix, the diagonal included.

    They are listed, since the matrix of Stanford Online Products would have 11,318 squared entries.

    Returns:
        columns true_label, noisy_label, n (samples), share (of those truly of that class), in the order of the labels.

    Raises:
        ValueError: as noise_report.
    """
    true_labels, noisy_labels = _checked(true_labels, noisy_labels, num_classes)
    pairs, n = np.unique(true_labels * num_classes + noisy_labels, return_counts=True)
    true, noisy = np.divmod(pairs, num_classes)
    share = n / np.bincount(true_labels, minlength=num_classes)[true]
    return pd.DataFrame({"true_label": true, "noisy_label": noisy, "n": n, "share": share})


def _checked(true_labels, noisy_labels, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    vectors = []
    for name, labels in (("true_labels", true_labels), ("noisy_labels", noisy_labels)):
        labels = np.asarray(labels)
        if labels.ndim != 1 or (len(labels) and labels.dtype.kind not in "iu"):
            raise ValueError(f"{name}: expected a vector of integers, found {labels.dtype} of shape {labels.shape}")
        if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
            raise ValueError(f"{name}: expected 0 to {num_classes - 1}, found {labels.min()} to {labels.max()}")
        vectors.append(labels.astype(np.int64))
    if len(vectors[0]) != len(vectors[1]):
        raise ValueError(f"noisy_labels: expected as many as true_labels, {len(vectors[0])}, found {len(vectors[1])}")
    return vectors[0], vectors[1]
