"""Labels for runs that train without their validation classes (train.hold_out)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pfml.labels.confusable import keep_classes
from pfml.labels.noise_kinds import corrupt


def labels_without_held_out(
    manifest: pd.DataFrame, kind: str, fraction: float, seed: int, confusable: Sequence | None = None
) -> pd.DataFrame:
    """The manifest with two further columns, the labels of a run that trains without the validation classes: kept_true
    and kept_noisy, numbered anew from 0 over the other training classes; -1 for images that such a run does not train
    on.

    Drawn kinds are drawn anew among the kept classes, so that the share moved is exact and no label points to a class
    that is held out. A listed label that would point to such a class leaves the true one.

    Args:
        manifest: columns of pfml.labels.noise.noise_manifest.
        kind: of pfml.labels.noise_kinds.KINDS.
        confusable: of kind semantic, labels for each training class.
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
    found = manifest.assign(kept_true=-1, kept_noisy=-1)
    found.loc[kept, "kept_true"], found.loc[kept, "kept_noisy"] = truth, noisy
    return found
