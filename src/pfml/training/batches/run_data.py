"""What one training run learns from and is measured on: images and labels of its halves, from the files of the data
stages.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pfml.images.packed import ArrayImages, PackedImages, open_images
from pfml.labels.folds import fold_rows
from pfml.labels.held_out import among_kept
from pfml.labels.noise import noise_manifest
from pfml.settings.run import Run
from pfml.training.batches.pictures import PackedPictures, Pictures, TensorPictures
from pfml.training.batches.transforms import TRANSFORMS


@dataclass(frozen=True)
class Half:
    """n pictures and their labels (n,) int64, numbered from 0."""

    pictures: Pictures
    labels: torch.Tensor

    @property
    def num_classes(self) -> int:
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class RunData:
    """What a run trains on (noisy labels) and is measured on (clean ones). validation is None unless held out.
    true_labels: (n,) int64 of the training half, None where nothing is known of its labels.
    """

    train: Half
    test: Half
    validation: Half | None
    num_classes: int
    true_labels: torch.Tensor | None = None


def load_run_data(run: Run, root: Path = Path()) -> RunData:
    """The data of a run, from data/raw and the noise manifest; of a fold's run from the split.

    With train.hold_out the validation classes leave the training half and the noise is drawn anew among the
    remaining classes, so that no label points to a class that is not trained. In a fold its classes are those.

    Raises:
        ValueError: images that train.transform cannot take, or a split without the run's fold.
    """
    images = open_images(root / "data/raw" / run.dataset)
    manifest = read_manifest(run, root)
    train, test = manifest[manifest["split"] == "train"], manifest[manifest["split"] == "test"]

    def half(rows: pd.DataFrame, labels) -> Half:
        return Half(pictures_of(images, rows["item"].to_numpy(), run.train), torch.as_tensor(np.array(labels)))

    if not run.train["hold_out"]:
        truth = train["true_label"].to_numpy(copy=True)
        learned, measured = half(train, train["noisy_label"]), half(test, test["true_label"])
        return RunData(learned, measured, None, int(truth.max()) + 1, torch.from_numpy(truth))
    kept = ~train["validation"].to_numpy()
    kind = run.noise_kind.get("kind", "uniform")
    truth, noisy = among_kept(kind, run.noise, run.seed, train, kept, root / run.paths().noise_report)
    held_out = np.unique(train.loc[~kept, "true_label"], return_inverse=True)[1]
    return RunData(
        half(train[kept], noisy),
        half(test, test["true_label"]),
        half(train[~kept], held_out),
        int(truth.max()) + 1,
        torch.as_tensor(np.array(truth)),
    )


def read_manifest(run: Run, root: Path = Path()) -> pd.DataFrame:
    """Labels of every image and who validates (columns of pfml.labels.noise.noise_manifest)."""
    manifest = pd.read_csv(root / run.paths().manifest)
    if run.fold is None:
        return manifest
    _, validation = fold_rows(manifest, run.fold)
    return noise_manifest(manifest.assign(validation=validation), 0.0, run.seed)


def pictures_of(images: ArrayImages | PackedImages, items: np.ndarray, recipe: dict) -> Pictures:
    """Some images of a dataset, by item number, seen through the recipe's transform.

    Raises:
        ValueError: shift for images of many sizes, another transform for an array of images of one size.
    """
    wanted, name = recipe["transform"], images.folder.name
    if (wanted == "shift") != isinstance(images, ArrayImages):
        fitting = ["shift"] if isinstance(images, ArrayImages) else sorted(set(TRANSFORMS) - {"shift"})
        has = "images of one size in one array" if isinstance(images, ArrayImages) else "images of many sizes"
        raise ValueError(
            f"train.transform: {name} has {has}; expected {', '.join(fitting)}, found {wanted} "
            f"(set recipe.{name}.train.transform)"
        )
    if wanted != "shift":
        return PackedPictures(images, items, TRANSFORMS[wanted])
    pixels = torch.from_numpy(np.ascontiguousarray(images[items])).permute(0, 3, 1, 2)
    return TensorPictures(pixels, TRANSFORMS["shift"], recipe["crop_padding"])
