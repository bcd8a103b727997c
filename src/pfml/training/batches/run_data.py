"""What one training run learns from and is measured on: images and labels of its halves, from the files of the data
stages.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pfml.images.packed import ArrayImages, PackedImages, open_images
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
    """The data of a run, from data/raw and the labels that the stage `noise` wrote; of a fold's run from the split.

    With train.hold_out the validation classes leave the training half, in a fold the classes of the fold.

    Raises:
        ValueError: images that train.transform cannot take, a split without the run's fold, or a file of labels that
            was written without those of runs that hold classes out.
    """
    images = open_images(root / "data/raw" / run.dataset)
    rows = read_labels(run, root)
    test = rows[rows["split"] == "test"]
    train = rows[rows["train_label"] >= 0]
    validation = rows[(rows["split"] == "train") & (rows["train_label"] < 0)]

    def half(rows: pd.DataFrame, labels) -> Half:
        return Half(pictures_of(images, rows["item"].to_numpy(), run.train), torch.as_tensor(np.array(labels)))

    truth = torch.as_tensor(train["train_truth"].to_numpy(copy=True))
    return RunData(
        half(train, train["train_label"]),
        half(test, test["true_label"]),
        half(validation, np.unique(validation["true_label"], return_inverse=True)[1]) if len(validation) else None,
        int(truth.max()) + 1,
        truth,
    )


def read_labels(run: Run, root: Path = Path()) -> pd.DataFrame:
    """One line an image of the dataset: item, split, true_label (of test images their class, numbered from 0), and what
    the run trains on, train_truth and train_label: the true and the (noisy) label of its training images, numbered from
    0; -1 for all others.

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
