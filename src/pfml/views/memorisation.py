"""Which wrong training labels the runs of a study have fitted at the end of training, and which they have resisted
(pfml.fitted_labels says what that means).

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

from pfml.cell import Cell
from pfml.fitted_labels import label_fit, neighbourhoods, shares
from pfml.trained import Trained, read_trained
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


def memorisation(cells: Sequence[Cell]) -> list[dict]:
    """A row (COLUMNS) per noisy cell; the clean columns are None without a finished clean run of method and seed.

    Raises:
        ValueError: a run belongs to another configuration, or its images are not those of the clean run.
    """
    clean = {(cell.method, cell.seed): cell for cell in cells if not cell.noise}
    rows = []
    for cell in cells:
        if cell.noise:
            reference = clean.get((cell.method, cell.seed))
            rows.append(_row(read_trained(cell), read_trained(reference) if reference else None))
    return rows


def _row(run: Trained, reference: Trained | None) -> dict:
    flipped = np.flatnonzero(run.labels != run.true_labels)
    given, true = run.labels[flipped], run.true_labels[flipped]
    measured = [len(flipped), *label_fit(run.train, run.labels, run.true_labels)]
    if reference is None:
        measured += [None, None]
    elif np.array_equal(reference.train_items, run.train_items):
        measured += shares(neighbourhoods(reference.train, reference.labels, flipped), given, true)
    else:
        raise ValueError(f"{reference.cell.name}: expected the training images of {run.cell.name}, found others")
    measured += shares(nearest_centres(run.train, run.labels, flipped), given, true)
    return dict(zip(COLUMNS, [run.cell.method, float(run.cell.noise), run.cell.seed, *measured]))


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
