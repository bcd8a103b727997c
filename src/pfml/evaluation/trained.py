"""Read the embeddings and proxies of trained runs, for measures and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from pfml.evaluation.run_record import read_run, sides_of
from pfml.settings.run import Run
from pfml.wasserstein import unit


@dataclass(frozen=True)
class Trained:
    """Unit embeddings (n, D) of a run's test and training images, with its proxies.

    test_items, train_items: (n,) numbers of the images in the dataset. test_labels: (n,). true_labels: (n,) of the
    training images. labels: (n,) of the training images, as training saw them. proxies: (classes, M, D) as the loss
    uses them, or (0, 0, 0). sides: `queries` and `gallery` of the test images for retrieval_metrics.
    """

    run: Run
    test: np.ndarray
    test_labels: np.ndarray
    test_items: np.ndarray
    train: np.ndarray
    labels: np.ndarray
    true_labels: np.ndarray
    train_items: np.ndarray
    proxies: np.ndarray
    sides: Mapping[str, np.ndarray | None] = field(default_factory=dict)


def read_trained(run: Run) -> Trained:
    """Embeddings and proxies of a trained run, with their images and labels from data/noise.

    Raises:
        ValueError: the files belong to another configuration, or to other images or labels.
    """
    read_run(run)
    path = run.paths().model / "embeddings.npz"
    saved = np.load(path)
    manifest = pd.read_csv(run.paths().manifest)
    train, test = manifest[manifest["split"] == "train"], manifest[manifest["split"] == "test"]
    true = train["true_label"].to_numpy(copy=True)  # pandas gives a view that torch warns about
    if run.never_sees_test:  # trained and measured on parts of the training half, whose labels have other numbers
        test, train = train[train["kept_true"] < 0], train[train["kept_true"] >= 0]
        true = train["kept_true"].to_numpy(copy=True)
    elif not np.array_equal(train["noisy_label"], saved["train_labels"]):
        raise ValueError(f"{path}: train_labels: expected the noisy_label of {run.paths().manifest}; run dvc repro")
    for name, rows in (("train", train), ("test", test)):
        if len(rows) != len(saved[name]):
            problem = f"expected {len(rows)} embeddings, found {len(saved[name])}; run dvc repro"
            raise ValueError(f"{path}: {name}: {problem}")
    proxies = saved["proxies"]
    if proxies.size and run.loss.get("normalize_proxies", True):
        proxies = unit(proxies)
    return Trained(
        run, unit(saved["test"]), saved["test_labels"], test["item"].to_numpy(), unit(saved["train"]),
        saved["train_labels"], true, train["item"].to_numpy(), proxies, sides_of(saved),
    )  # fmt: skip


def runs_of(grid: Sequence[Run], dataset: str, noise: float | None = None) -> dict[str, Run]:
    """Method -> its run with the first seed at one level of noise; by default the lowest level of the grid."""
    of_dataset = [run for run in grid if run.dataset == dataset]
    noise = min((run.noise for run in of_dataset), default=0.0) if noise is None else noise
    chosen: dict[str, Run] = {}
    for run in of_dataset:
        if run.noise == noise:
            chosen.setdefault(run.method, run)
    return chosen


def class_names(record: Trained) -> dict[int, str]:
    """Name of each class by its number among the training labels."""
    split = pd.read_csv(f"data/split/{record.run.dataset}.csv", dtype={"class_name": str}, keep_default_na=False)
    return dict(zip(record.true_labels.tolist(), split["class_name"].to_numpy()[record.train_items]))


def evenly_spaced(labels: np.ndarray, count: int) -> np.ndarray:
    """`count` of the classes, evenly spaced in their order, or all if there are fewer."""
    classes = np.unique(labels)
    return classes[np.linspace(0, len(classes) - 1, min(count, len(classes))).astype(int)]
