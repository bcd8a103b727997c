"""From files to batches: what one training run learns from, in which order, with which augmentation.

Every draw comes from a generator seeded by (seed, epoch), never from a global state, so that a run resumed at an epoch
continues with exactly the batches of the uninterrupted one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from pfml.config import Cell
from pfml.data.catalogue import load_images
from pfml.data.noise import corrupt_labels


@dataclass(frozen=True)
class Half:
    """Images (n, 3, height, width) uint8 and labels (n,) int64, numbered from 0."""

    images: torch.Tensor
    labels: torch.Tensor

    @property
    def num_classes(self) -> int:
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class RunData:
    """What a cell trains on (noisy labels) and is measured on (clean ones). validation is None unless held out."""

    train: Half
    test: Half
    validation: Half | None
    num_classes: int


def load_run_data(cell: Cell, root: Path = Path()) -> RunData:
    """The data of a cell, from data/raw and the noise manifest.

    With train.hold_out the validation classes leave the training half and the noise is drawn anew among the
    remaining classes, so that no label points to a class that is not trained.
    """
    images = load_images(root / "data/raw" / cell.dataset)
    manifest = pd.read_csv(root / cell.paths().manifest)
    train, test = manifest[manifest["split"] == "train"], manifest[manifest["split"] == "test"]

    def half(rows: pd.DataFrame, labels) -> Half:
        pixels = torch.from_numpy(np.ascontiguousarray(images[rows["item"].to_numpy()]))
        return Half(pixels.permute(0, 3, 1, 2), torch.as_tensor(np.array(labels), dtype=torch.int64))

    if not cell.train["hold_out"]:
        num_classes = int(train["true_label"].max()) + 1
        return RunData(half(train, train["noisy_label"]), half(test, test["true_label"]), None, num_classes)
    kept, held_out = train[~train["validation"]], train[train["validation"]]
    truth = _from_zero(kept["true_label"])
    num_classes = int(truth.max()) + 1
    noisy, _ = corrupt_labels(truth, cell.noise, cell.seed, num_classes)
    return RunData(
        half(kept, noisy),
        half(test, test["true_label"]),
        half(held_out, _from_zero(held_out["true_label"])),
        num_classes,
    )


def _from_zero(labels: pd.Series) -> np.ndarray:
    return np.unique(labels, return_inverse=True)[1]


def epoch_batches(
    labels: torch.Tensor, sampler: str, batch: int, steps: int, images_per_class: int, seed: int, epoch: int
) -> Iterator[torch.Tensor]:
    """Index tensors (batch,) for one epoch of `steps` steps.

    `random`: shuffled passes over the data one after the other. `balanced`: batch / images_per_class classes without
    repetition, images_per_class images of each (with repetition only in a class that has fewer).

    Raises:
        ValueError: fewer non-empty classes than a balanced batch needs.
    """
    rng = np.random.Generator(np.random.Philox([seed, epoch]))
    if sampler == "random":
        passes = -(-steps * batch // len(labels))
        order = np.concatenate([rng.permutation(len(labels)) for _ in range(passes)])
        yield from torch.from_numpy(order[: steps * batch]).view(steps, batch)
        return
    members = [np.flatnonzero(labels.numpy() == c) for c in np.unique(labels.numpy())]
    per_batch = batch // images_per_class
    if len(members) < per_batch:
        raise ValueError(
            f"train.batch: a balanced batch of {batch} needs {per_batch} classes with {images_per_class} images each, "
            f"the training data has {len(members)} classes; lower train.batch or raise train.images_per_class"
        )
    for _ in range(steps):
        classes = rng.choice(len(members), per_batch, replace=False)
        picks = [rng.choice(members[c], images_per_class, replace=len(members[c]) < images_per_class) for c in classes]
        yield torch.from_numpy(np.concatenate(picks))


def normalise(images: torch.Tensor) -> torch.Tensor:
    """(n, 3, h, w) uint8 to float32 with zero mean at mid-grey and a standard deviation near 1."""
    return (images.float() / 255 - 0.5) / 0.25


def augment(images: torch.Tensor, padding: int, generator: torch.Generator) -> torch.Tensor:
    """(n, 3, h, w) float: a random crop of each image to its own extent, after a replicated border of `padding`."""
    if not padding:
        return images
    n, channels, height, width = images.shape
    padded = F.pad(images, [padding] * 4, mode="replicate")
    top, left = torch.randint(0, 2 * padding + 1, (2, n, 1, 1, 1), generator=generator)
    rows = top + torch.arange(height).view(1, 1, height, 1)
    columns = left + torch.arange(width).view(1, 1, 1, width)
    return padded[torch.arange(n).view(n, 1, 1, 1), torch.arange(channels).view(1, channels, 1, 1), rows, columns]
