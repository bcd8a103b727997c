"""Which wrong training labels the runs of a study have fitted at the end of training, and which they have resisted
(pfml.retrieval.memorisation says what that means).

The same question is put to the run that saw only true labels, about the same samples: how many of them lie in their
true class (what could be resisted at best) and in the given one (what chance and likeness alone would seem to fit). A
second reading, by the nearest of the class centres (directions of the mean embedding of the images that carry a label,
the sample itself left out), is written beside that by neighbours. What epochs in between had fitted is in the runs'
histories (params.yaml, memorisation).
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pfml.evaluation.trained import Trained, read_trained
from pfml.retrieval.memorisation import label_fit, neighborhoods, shares
from pfml.settings.run import Run
from pfml.wasserstein import unit

COLUMNS = (
    "method", "noise", "seed", "flipped", "fitted", "resisted", "clean_fitted", "clean_resisted", "centre_fitted",
    "centre_resisted",
)  # fmt: skip


def nearest_centres(embeddings: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Label of the nearest class centre, the sample itself left out of its own: (q,). Unit embeddings (n, D)."""
    sums = np.zeros((labels.max() + 1, embeddings.shape[1]))
    np.add.at(sums, labels, embeddings)
    own = sums[labels[asked]] - embeddings[asked]
    similar = embeddings[asked] @ unit(sums).T
    similar[:, np.bincount(labels, minlength=len(sums)) == 0] = -np.inf  # a class that noise has emptied has no centre
    others = np.bincount(labels, minlength=len(sums))[labels[asked]] > 1
    similar[np.arange(len(asked)), labels[asked]] = np.where(others, (embeddings[asked] * unit(own)).sum(1), -np.inf)
    return similar.argmax(1)


def memorisation(runs: Sequence[Run]) -> list[dict]:
    """A row (COLUMNS) per noisy run; the clean columns are None without a finished clean run of method and seed.

    Raises:
        ValueError: a run belongs to another configuration, or its images are not those of the clean run.
    """
    clean = {(run.method, run.seed): run for run in runs if not run.noise}
    rows = []
    for run in runs:
        if run.noise:
            reference = clean.get((run.method, run.seed))
            rows.append(_row(read_trained(run), read_trained(reference) if reference else None))
    return rows


def _row(trained: Trained, reference: Trained | None) -> dict:
    flipped = np.flatnonzero(trained.labels != trained.true_labels)
    given, true = trained.labels[flipped], trained.true_labels[flipped]
    measured = [len(flipped), *label_fit(trained.train, trained.labels, trained.true_labels)]
    if reference is None:
        measured += [None, None]
    elif np.array_equal(reference.train_items, trained.train_items):
        measured += shares(neighborhoods(reference.train, reference.labels, flipped), given, true)
    else:
        raise ValueError(f"{reference.run.name}: expected the training images of {trained.run.name}, found others")
    measured += shares(nearest_centres(trained.train, trained.labels, flipped), given, true)
    return dict(zip(COLUMNS, [trained.run.method, float(trained.run.noise), trained.run.seed, *measured]))


def write_memorisation(rows: Sequence[dict], path: str | Path) -> None:
    """A line per noisy run; shares as fractions with four digits."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            measured = {key: "" if row[key] is None else f"{row[key]:.4f}" for key in COLUMNS[4:]}
            writer.writerow(dict(row) | measured)
