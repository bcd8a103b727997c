"""Which wrong training labels a trained network has fitted, and which it has resisted.

A sample with a wrong label has a true class t and a given one, g, that training saw. Where the network has put it is
read from its NEIGHBOURS nearest other training embeddings (cosine) by the label that most of *them* carry, as training
saw it; of labels with equally many votes the one with the nearest neighbour counts. The label is then

    fitted     if the neighbourhood is g: the image was learned by heart, among images that it does not look like
    resisted   if it is t: the image lies with its kind, whatever its label said
    neither    otherwise

The same question is put to the run that saw only true labels, about the same samples: how many of them lie in t (what
could be resisted at best) and in g (what chance and likeness alone would seem to fit). A second reading, by the nearest
of the class centres (directions of the mean embedding of the images that carry a label, the sample itself left out), is
written beside the first. All of it is measured at the end of training: epochs in between leave no embeddings.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pfml.cell import Cell
from pfml.retrieval import nearest_neighbours
from pfml.trained import Trained, read_trained
from pfml.wasserstein import unit

NEIGHBOURS = 5  # about as many as others of a class in Stanford Online Products, the set with the smallest classes
COLUMNS = (
    "method", "noise", "seed", "flipped", "fitted", "resisted", "clean_fitted", "clean_resisted", "centre_fitted",
    "centre_resisted",
)  # fmt: skip


def neighbourhoods(embeddings: np.ndarray, labels: np.ndarray, asked: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Label that most of the k nearest others carry: (q,).

    Args:
        embeddings: (n, D). labels: (n,) of all of them. asked: (q,) numbers of embeddings.
    """
    found = [rows for _, rows in nearest_neighbours(torch.from_numpy(embeddings), torch.from_numpy(asked), k)]
    near = labels[torch.cat(found).numpy()] if found else np.empty((0, k), labels.dtype)
    votes = (near[:, :, None] == near[:, None, :]).sum(2)
    return near[np.arange(len(near)), votes.argmax(1)]  # the first of equal ones: the nearest


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


def shares(placed: np.ndarray, given: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Shares fitted and resisted of samples placed in classes (q,). NaN where there is no sample."""
    return (float((placed == given).mean()), float((placed == true).mean())) if len(placed) else (np.nan, np.nan)


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
    measured = [len(flipped), *shares(neighbourhoods(run.train, run.labels, flipped), given, true)]
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
