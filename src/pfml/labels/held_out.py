"""Labels for runs that train without their validation classes (train.hold_out)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pfml.labels.confusable import keep_classes
from pfml.labels.noise_kinds import corrupt


def labels_without_held_out(
    manifest: pd.DataFrame, kind: str, fraction: float, seed: int, confusable: Sequence | None = None
) -> pd.DataFrame:
    """Add the labels of a run that trains without the validation classes, as columns kept_true and kept_noisy.

    These labels number the other training classes from 0; images that such a run does not train on have -1. Noise of a
    drawn kind is drawn again among the kept classes, so that the share of moved labels is exact and no label points to
    a held-out class. Where a list would give the label of a held-out class, the image keeps its true label.

    Args:
        manifest: columns of pfml.labels.noise.noise_manifest.
        kind: of pfml.labels.noise_kinds.KINDS.
        confusable: for kind semantic, the confusable labels of each training class.
    """
    kept = (manifest["split"] == "train") & ~manifest["validation"]
    labels, truth = np.unique(manifest.loc[kept, "true_label"], return_inverse=True)
    if not fraction:
        kind, settings = "uniform", {"fraction": 0.0, "seed": seed}
    elif kind == "list":
        listed = manifest.loc[kept, "noisy_label"].to_numpy()
        places = np.searchsorted(labels, listed).clip(max=len(labels) - 1)
        settings = {"noisy": np.where(labels[places] == listed, places, truth)}
    else:
        settings = {"fraction": fraction, "seed": seed}
        if kind == "semantic":
            settings["confusable"] = keep_classes(confusable, labels)
    noisy, _ = corrupt(kind, truth, len(labels), **settings)
    table = manifest.assign(kept_true=-1, kept_noisy=-1)
    table.loc[kept, "kept_true"], table.loc[kept, "kept_noisy"] = truth, noisy
    return table
