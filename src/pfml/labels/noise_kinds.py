"""Kinds of label noise beside the uniform one: to the next class, to confusable classes, or as a list says.

Every drawn kind moves exactly round(fraction * n) samples. For one seed uniform and pairflip, and semantic where every
class has a confusable one, move the same samples and differ only in where to: kinds compare sample by sample.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pfml.labels.confusable import check_confusable
from pfml.labels.noise import check_fraction, check_labels, corrupt_labels, noise_manifest

KINDS = {  # what each needs beside labels and num_classes
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
        settings: fraction and seed of the drawn kinds; confusable of semantic (see `semantic`); noisy, the labels (n,)
            of a list (pfml.labels.noise_list.import_list), whose fraction is what it is.

    Returns:
        noisy labels (n,) int64 and a boolean mask (n,) of the moved samples.

    Raises:
        ValueError: unknown kind, a setting that the kind has not or lacks, or what the kind itself refuses.
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

    The pair noise of Co-teaching (Han et al., NeurIPS 2018), with an exact count. Arguments, results and errors are
    those of corrupt_labels, which also says who moves.
    """
    noisy, mask = corrupt_labels(labels, fraction, seed, num_classes)
    noisy[mask] = (np.asarray(labels)[mask] + 1) % num_classes
    return noisy, mask


def semantic(
    labels, fraction: float, seed: int, num_classes: int, confusable: Sequence
) -> tuple[np.ndarray, np.ndarray]:
    """Move exactly round(fraction * n) samples, each to a class that its own is confused with, drawn uniformly.

    Args:
        labels, fraction, seed, num_classes: as corrupt_labels; the fraction is one of all samples.
        confusable: for each class the classes that its samples may move to (pfml.labels.confusable), not
            itself and none twice; samples of a class with none stay.

    Returns:
        as corrupt_labels.

    Raises:
        ValueError: as corrupt_labels; confusable of another length, with a class out of range, twice or the class
            itself; or more samples to move than stand in classes that have a confusable one.
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
    noisy, own = truth.copy(), truth[mask]
    picks = bits[len(truth) :] % choices[own]
    noisy[mask] = [targets[c][pick] for c, pick in zip(own, picks)]
    return noisy, mask


def as_listed(labels, noisy, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels that a list gives, checked: (n,) int64, and the mask (n,) of those that differ from the true ones.

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
        kind, settings: as corrupt; labels, confusable and noisy speak of training classes numbered 0 .. in the order of
            their class_id and of training images in the order of the split.
    """
    table = noise_manifest(split, 0.0, 0)
    train = table["split"] == "train"
    truth = table.loc[train, "true_label"].to_numpy()
    noisy, mask = corrupt(kind, truth, int(truth.max()) + 1, **settings)
    table.loc[train, "noisy_label"], table.loc[train, "corrupted"] = noisy, mask
    return table
