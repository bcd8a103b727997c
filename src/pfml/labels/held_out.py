"""Labels of a run that holds its validation classes out (train.hold_out)."""

from pathlib import Path

import numpy as np
import pandas as pd

from pfml.labels.confusable import keep_classes
from pfml.labels.noise_kinds import corrupt


def among_kept(
    kind: str, fraction: float, seed: int, train: pd.DataFrame, kept: np.ndarray, classes: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a run that trains without its validation classes: numbered anew, no label points to one of these.

    Drawn kinds are drawn anew among the kept classes, so that the share moved is exact. A listed label that would point
    to a class that is held out leaves the true one.

    Args:
        train: lines of the manifest's training half.
        kept: (n,) bool, lines whose class trains.
        classes: the file of the second table of `noise_tables`; read for semantic noise only.

    Returns:
        true and noisy labels of the kept lines, (k,) int64, numbered from 0.
    """
    labels, truth = np.unique(train.loc[kept, "true_label"], return_inverse=True)
    if not fraction or kind in ("uniform", "pairflip"):
        settings = {"fraction": fraction, "seed": seed}
    elif kind == "semantic":
        rows = pd.read_csv(classes, dtype={"confusable": str}, keep_default_na=False)["confusable"]
        confusable = keep_classes([[int(label) for label in row.split()] for row in rows], labels)
        settings = {"fraction": fraction, "seed": seed, "confusable": confusable}
    else:
        listed = train.loc[kept, "noisy_label"].to_numpy()
        places = np.searchsorted(labels, listed).clip(max=len(labels) - 1)
        settings = {"noisy": np.where(labels[places] == listed, places, truth)}
    noisy, _ = corrupt(kind if fraction else "uniform", truth, len(labels), **settings)
    return truth, noisy
