"""From the `noise` section of params.yaml to the labels that training sees, and to a line about each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pfml.labels.confusable import nearest_classes, read_confusable
from pfml.labels.noise_kinds import kind_manifest
from pfml.labels.noise_list import ImportedList, import_list
from pfml.labels.report import noise_report
from pfml.settings.schema import Noise

SMALL = 8  # pixels a side of the pictures that stand in for embeddings


def noise_tables(
    split: pd.DataFrame,
    asked: Noise,
    fraction: str,
    seed: int,
    name: str,
    names: Sequence[str],
    images: Sequence,
    root: Path = Path(),
) -> tuple[pd.DataFrame, pd.DataFrame, ImportedList | None]:
    """The labels of every image, and what noise did to each training class.

    Args:
        split: table of zero_shot_split.
        fraction: as the grid writes it; the places in `asked` may hold it as {noise}. 0 leaves all labels, of any kind.
        name: of the dataset, {dataset} in those places.
        names: (n,) of all images, as lists of noisy labels have them.
        images: images[i] is (height, width, 3) uint8; looked at only where small pictures decide what is confusable.
        root: of the project; relative places start there.

    Returns:
        the manifest (columns of pfml.labels.noise.noise_manifest); the classes (columns of pfml.labels.report, with
        class_id, class_name and, for semantic noise, confusable: labels separated by blanks); the list that was
        imported, or None.

    Raises:
        ValueError: what the kinds refuse, a file that does not fit, or a list that moves nothing.
    """
    train = split[split["split"] == "train"]
    classes = train.drop_duplicates("class_id").sort_values("class_id")
    truth = np.searchsorted(classes["class_id"], train["class_id"])
    share, imported, confusable = float(fraction), None, None
    kind = asked.kind if share else "uniform"
    place = lambda key: _place(key, getattr(asked, key), root, name, fraction)  # noqa: E731
    settings = {"fraction": share, "seed": seed}
    if kind == "semantic":
        if asked.confusable:
            confusable = read_confusable(place("confusable"), classes["class_id"].tolist())
        else:
            saved = asked.embeddings and place("embeddings")
            vectors = _embeddings(saved, truth) if saved else small_pictures(images, train["item"])
            if asked.neighbours >= len(classes):
                raise ValueError(
                    f"noise.neighbours: expected 1 to {len(classes) - 1}, other classes of the {len(classes)} that "
                    f"{name} trains on, found {asked.neighbours}"
                )
            confusable = nearest_classes(vectors, truth, len(classes), asked.neighbours)
        settings["confusable"] = confusable
    if kind == "list":
        of_train = [names[item] for item in train["item"]]
        imported = import_list(place("list"), of_train, truth, len(classes), asked.numbering)
        if not imported.flipped:
            raise ValueError(f"{place('list')}: expected noisy labels, found the true ones of all images")
        settings = {"noisy": imported.noisy}
    manifest = kind_manifest(split, kind, **settings)
    noisy = manifest.loc[manifest["split"] == "train", "noisy_label"].to_numpy()
    table = noise_report(truth, noisy, len(classes))
    table.insert(1, "class_id", classes["class_id"].to_numpy())
    table.insert(2, "class_name", classes["class_name"].to_numpy())
    table["confusable"] = [" ".join(map(str, row)) for row in confusable] if confusable is not None else ""
    return manifest, table, imported


def _place(key: str, path: str, root: Path, name: str, fraction: str) -> Path:
    """Where a file of section `noise` is. ValueError if it is not there."""
    place = root / Path(path.format(dataset=name, noise=fraction)).expanduser()
    if not place.is_file():
        raise ValueError(f"noise.{key}: expected a file, found nothing at {place}")
    return place


def small_pictures(images: Sequence, items: Sequence[int]) -> np.ndarray:
    """(n, 192) float32: each image shrunk to 8 x 8 RGB, less the mean picture. Needs no network and no weights.

    It says which classes look alike in colour and layout, no more; embeddings of a trained network say more.
    """
    rows = [
        np.asarray(Image.fromarray(np.asarray(images[item])).resize((SMALL, SMALL), Image.Resampling.BOX)).ravel()
        for item in items
    ]
    pictures = np.stack(rows).astype(np.float32)
    return pictures - pictures.mean(0)


def _embeddings(path: Path, truth: np.ndarray) -> np.ndarray:
    """`train` of an embeddings.npz whose labels are those of this training half. A run's labels may be noisy: a run on
    clean labels is expected.
    """
    try:
        with np.load(path) as saved:
            vectors, labels = saved["train"], saved["train_labels"]
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"noise.embeddings: {path}: expected an embeddings.npz of a run (arrays train, train_labels): {error}"
        ) from None
    if not np.array_equal(labels, truth):
        raise ValueError(
            f"noise.embeddings: {path}: its train_labels are not the true labels of this training half; "
            "expected a run on the same split with noise 0 and without hold_out"
        )
    return vectors
