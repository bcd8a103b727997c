"""Images and labels of a training run's halves, from the files of the data stages."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pfml.images.packed import ArrayImages, PackedImages, open_images
from pfml.settings.run import Run
from pfml.training.batches.features import Features
from pfml.training.batches.pictures import PackedPictures, Pictures, TensorPictures
from pfml.training.batches.transforms import TRANSFORMS


@dataclass(frozen=True)
class Half:
    """n pictures and their labels (n,) int64, numbered from 0. `queries`, `gallery`: numbers of the pictures that are
    searched for and of those that are searched, int64; None where each picture is searched in all others.
    """

    pictures: Pictures | Features
    labels: torch.Tensor
    queries: torch.Tensor | None = None
    gallery: torch.Tensor | None = None

    @property
    def num_classes(self) -> int:
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class RunData:
    """The halves of a run: `train` with noisy labels, `test` and `validation` (None unless held out) with clean ones.
    `true_labels`: (n,) int64 of the training half, or None if unknown.
    """

    train: Half
    test: Half
    validation: Half | None
    num_classes: int
    true_labels: torch.Tensor | None = None


def load_run_data(run: Run, root: Path = Path()) -> RunData:
    """The data of a run, from data/raw and the labels of the stage `noise` (in a fold, of the split).

    With train.hold_out the training half lacks the validation classes, in a fold the classes of the fold.

    Raises:
        ValueError: images that do not suit train.transform; a split without the run's fold; or a file of labels without
            the columns for runs with held-out classes.
    """
    rows = read_labels(run, root)
    if run.trunk == "fine_tune":
        images = open_images(root / "data/raw" / run.dataset)
    test = rows[rows["split"] == "test"]
    train = rows[rows["train_label"] >= 0]
    validation = rows[(rows["split"] == "train") & (rows["train_label"] < 0)]

    def half(rows: pd.DataFrame, labels, **sides) -> Half:
        items = rows["item"].to_numpy()
        if run.trunk == "fine_tune":
            pictures = pictures_of(images, items, run.train)
        else:
            pictures = Features(root / "data/features" / run.dataset, items)
        return Half(pictures, torch.as_tensor(np.array(labels)), **sides)

    truth = torch.as_tensor(train["train_truth"].to_numpy(copy=True))
    return RunData(
        half(train, train["train_label"]),
        half(test, test["true_label"], **_sides(test)),
        half(validation, np.unique(validation["true_label"], return_inverse=True)[1]) if len(validation) else None,
        int(truth.max()) + 1,
        truth,
    )


def _sides(test: pd.DataFrame) -> dict[str, torch.Tensor]:
    """`queries` and `gallery` of the test half, where the dataset separates them."""
    sides = {"queries": "query", "gallery": "gallery"} if "role" in test else {}
    return {side: torch.from_numpy(np.flatnonzero(test["role"] == role)) for side, role in sides.items()}


def read_labels(run: Run, root: Path = Path()) -> pd.DataFrame:
    """The labels of all images of the dataset, one line an image.

    Returns:
        columns item, split, role where the dataset has it, true_label (classes of a half numbered from 0), train_truth
        and train_label (true and noisy label of the images that the run trains on, numbered from 0; -1 for all other
        images).

    Raises:
        ValueError: as load_run_data.
    """
    path = root / run.paths().manifest
    rows = pd.read_csv(path)
    if run.fold is not None:
        folds = sorted(set(rows.get("fold", ())) - {-1})
        if run.fold not in folds:
            raise ValueError(f"{path}: fold: expected one of {folds}, found {run.fold}")
        rows["true_label"] = rows.groupby("split")["class_id"].rank(method="dense").astype("int64") - 1
        kept = (rows["split"] == "train") & (rows["fold"] != run.fold)
        rows["train_truth"] = -1
        rows.loc[kept, "train_truth"] = np.unique(rows.loc[kept, "class_id"], return_inverse=True)[1]
        return rows.assign(train_label=rows["train_truth"])
    if run.train["hold_out"]:
        if "kept_true" not in rows:
            raise ValueError(f"{path}: expected columns kept_true and kept_noisy for train.hold_out; run dvc repro")
        return rows.assign(train_truth=rows["kept_true"], train_label=rows["kept_noisy"])
    train = rows["split"] == "train"
    return rows.assign(
        train_truth=rows["true_label"].where(train, -1), train_label=rows["noisy_label"].where(train, -1)
    )


def pictures_of(images: ArrayImages | PackedImages, items: np.ndarray, recipe: dict) -> Pictures:
    """The images of a dataset with these item numbers, through the recipe's transform.

    Raises:
        ValueError: transform shift for images of many sizes, or another one for an array of images of one size.
    """
    transform, name = recipe["transform"], images.folder.name
    if (transform == "shift") != isinstance(images, ArrayImages):
        fitting = ["shift"] if isinstance(images, ArrayImages) else sorted(set(TRANSFORMS) - {"shift"})
        has = "images of one size in one array" if isinstance(images, ArrayImages) else "images of many sizes"
        raise ValueError(
            f"train.transform: {name} has {has}; expected {', '.join(fitting)}, found {transform} "
            f"(set recipe.{name}.train.transform)"
        )
    if transform != "shift":
        return PackedPictures(images, items, TRANSFORMS[transform])
    pixels = torch.from_numpy(np.ascontiguousarray(images[items])).permute(0, 3, 1, 2)
    return TensorPictures(pixels, TRANSFORMS["shift"], recipe["crop_padding"])
