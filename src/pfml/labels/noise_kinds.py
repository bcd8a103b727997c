"""Kinds of label noise beside the uniform one: to the next class, to confusable classes, or from a list.

Every drawn kind moves exactly round(fraction * n) samples. With one seed, uniform and pairflip move the same samples
and differ only in the new labels, so that kinds can be compared sample by sample. So does semantic if every class has
a confusable one.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pfml.labels.confusable import check_confusable
from pfml.labels.noise import check_fraction, check_labels, corrupt_labels, noise_manifest

KINDS = {  # name -> arguments beside labels and num_classes
    "uniform": ("fraction", "seed"),
    "pairflip": ("fraction", "seed"),
    "semantic": ("fraction", "seed", "confusable"),
    "list": ("noisy",),
}


def corrupt(kind: str, labels, num_classes: int, **settings) -> tuple[np.ndarray, np.ndarray]:
    """Noisy labels of one kind.

    Args:
        kind: uniform (pfml.labels.noise.corrupt_labels), pairflip, semantic or list.
        labels: (n,) integers in [0, num_classes).
        settings: fraction and seed of the drawn kinds; confusable of semantic (see `semantic`); noisy of list, labels
            (n,) of pfml.labels.noise_list.import_list.

    Returns:
        noisy labels (n,) int64 and a boolean mask (n,) of the moved samples.

    Raises:
        ValueError: unknown kind, an unknown or missing setting, or an error of the kind itself.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    if set(settings) != set(KINDS[kind]):
        found = ", ".join(sorted(settings)) or "nothing"
        raise ValueError(f"settings: noise of kind {kind} expects {', '.join(KINDS[kind])}, found {found}")
    if kind == "list":
        return as_listed(labels, settings["noisy"], num_classes)
    draw = {"uniform": corrupt_labels, "pairflip": pairflip, "semantic": semantic}[kind]
    return draw(labels, num_classes=num_classes, **settings)


def pairflip(labels, fraction: float, seed: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Move exactly round(fraction * n) samples, each from class c to c + 1, the last class to 0.

    The pair noise of Co-teaching (Han et al., NeurIPS 2018), with an exact count. Arguments, results, errors and the
    moved samples are those of corrupt_labels.
    """
    noisy, mask = corrupt_labels(labels, fraction, seed, num_classes)
    noisy[mask] = (np.asarray(labels)[mask] + 1) % num_classes
    return noisy, mask


def semantic(
    labels, fraction: float, seed: int, num_classes: int, confusable: Sequence
) -> tuple[np.ndarray, np.ndarray]:
    """Move exactly round(fraction * n) samples, each to a uniformly drawn confusable class of its own class.

    Args:
        labels, fraction, seed, num_classes: as corrupt_labels; the fraction counts all samples.
        confusable: for each class the other classes that its samples may move to, each once (pfml.labels.confusable).
            Samples of a class with an empty vector stay.

    Returns:
        as corrupt_labels.

    Raises:
        ValueError: as corrupt_labels; as check_confusable; or more samples to move than there are in classes that have
            a confusable one.
    """
    check_fraction(fraction)
    truth = check_labels(labels, num_classes)
    targets = check_confusable(confusable, num_classes)
    moved, choices = round(fraction * len(truth)), np.array([len(t) for t in targets], dtype=np.uint64)
    movable = choices[truth] > 0
    if moved > movable.sum():
        raise ValueError(
            f"confusable: {moved} samples are to move, but only {movable.sum()} are of classes with a confusable one"
        )
    # The same bits in the same places as corrupt_labels, so that the same samples move where all can.
    bits = np.random.Philox(key=seed).random_raw(len(truth) + moved)
    order = np.argsort(bits[: len(truth)], kind="stable")
    mask = np.zeros(len(truth), dtype=bool)
    mask[order[movable[order]][:moved]] = True
    noisy, moved_from = truth.copy(), truth[mask]
    picks = bits[len(truth) :] % choices[moved_from]
    noisy[mask] = [targets[c][pick] for c, pick in zip(moved_from, picks)]
    return noisy, mask


def as_listed(labels, noisy, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Check the labels of a list; returns them as (n,) int64, and the mask (n,) of wrong ones.

    Raises:
        ValueError: not one label in [0, num_classes) for each sample.
    """
    truth = check_labels(labels, num_classes)
    noisy = np.asarray(noisy)
    if noisy.shape != truth.shape or noisy.dtype.kind not in "iu":
        raise ValueError(
            f"noisy: expected one integer for each of {len(truth)} samples, found {noisy.dtype} of shape {noisy.shape}"
        )
    if len(noisy) and not (noisy.min() >= 0 and noisy.max() < num_classes):
        raise ValueError(f"noisy: expected 0 to {num_classes - 1}, found {noisy.min()} to {noisy.max()}")
    return noisy.astype(np.int64), noisy != truth


def kind_manifest(split: pd.DataFrame, kind: str, **settings) -> pd.DataFrame:
    """noise_manifest for any kind: the same columns, and for kind uniform the same values.

    Args:
        split: table of zero_shot_split.
        kind, settings: as corrupt. Their training classes are numbered from 0 in the order of class_id, their training
            images have the order of the split.
    """
    table = noise_manifest(split, 0.0, 0)
    train = table["split"] == "train"
    truth = table.loc[train, "true_label"].to_numpy()
    noisy, mask = corrupt(kind, truth, int(truth.max()) + 1, **settings)
    table.loc[train, "noisy_label"], table.loc[train, "corrupted"] = noisy, mask
    return table
