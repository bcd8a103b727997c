"""Make the labels that training sees from section `noise` of params.yaml, with a table of the noise in each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pfml.images.packed import open_images, read_items
from pfml.labels.confusable import nearest_classes, read_confusable
from pfml.labels.held_out import labels_without_held_out
from pfml.labels.noise_kinds import kind_manifest
from pfml.labels.noise_list import ImportedList, import_list
from pfml.labels.report import noise_report
from pfml.settings.files import write_whole

SMALL = 8  # pixels a side of the pictures that stand in for embeddings


def write_labels(dataset: str, noise: float, seed: int, settings: Mapping, hold_out: bool, root: Path = Path()) -> str:
    """Write data/noise/<dataset>-<noise>-<seed>.csv and ...-classes.csv, the two tables of `noise_tables`.

    Returns:
        how many labels moved, as text.

    Raises:
        ValueError: as noise_tables.
    """
    raw, folder = Path("data/raw", dataset), Path("data/noise")
    split = pd.read_csv(f"data/split/{dataset}.csv", dtype={"class_name": str}, na_filter=False)
    items = read_items(raw)
    names = items["name" if "name" in items else "item"].map(str)
    labels, classes, imported = noise_tables(
        split, settings, noise, seed, dataset, names, open_images(raw), root, hold_out
    )
    stem = f"{dataset}-{noise}-{seed}"
    write_whole(folder / f"{stem}.csv", labels.to_csv(index=False, lineterminator="\n"))
    table = classes.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_whole(folder / f"{stem}-classes.csv", table)
    moved = f"{dataset}: {labels['corrupted'].sum()} of {classes['n'].sum()} training labels moved"
    emptied = f"{classes['emptied'].sum()} classes emptied"
    return f"{moved}\n{dataset}: {imported if imported else emptied}"


def noise_tables(
    split: pd.DataFrame,
    settings: Mapping,
    fraction: float,
    seed: int,
    name: str,
    names: Sequence[str],
    images: Sequence,
    root: Path = Path(),
    hold_out: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame, ImportedList | None]:
    """The labels of every image, and the effect of noise on each training class.

    Args:
        split: table of zero_shot_split.
        settings: section `noise` of params.yaml.
        fraction: spelled as in the grid, 0 or 0.0, since paths in `settings` may contain {noise}. 0 moves no label.
        name: of the dataset; replaces {dataset} in these paths.
        names: (n,) of all images, in the form that lists of noisy labels have.
        images: images[i] is (height, width, 3) uint8; read only if `small_pictures` decide what is confusable.
        root: of the project; relative paths start there.
        hold_out: add the labels of runs that train without the validation classes.

    Returns:
        the manifest (columns of pfml.labels.noise.noise_manifest, with hold_out those of
        pfml.labels.held_out.labels_without_held_out too); the classes (columns of pfml.labels.report, with
        class_id, class_name and, for semantic noise, confusable: labels separated by blanks); the list that was
        imported, or None.

    Raises:
        ValueError: as `corrupt`; a missing or unsuitable file; or a list that moves no label.
    """
    train = split[split["split"] == "train"]
    classes = train.drop_duplicates("class_id").sort_values("class_id")
    truth = np.searchsorted(classes["class_id"], train["class_id"])
    imported = confusable = None
    kind = settings["kind"] if fraction else "uniform"
    place = lambda key: _place(key, settings[key], root, name, fraction)  # noqa: E731
    drawn = {"fraction": float(fraction), "seed": seed}
    if kind == "semantic":
        if settings["confusable"]:
            confusable = read_confusable(place("confusable"), classes["class_id"].tolist())
        else:
            saved = settings["embeddings"] and place("embeddings")
            vectors = _embeddings(saved, truth) if saved else small_pictures(images, train["item"])
            if settings["neighbours"] >= len(classes):
                raise ValueError(
                    f"noise.neighbours: expected 1 to {len(classes) - 1}, other classes of the {len(classes)} that "
                    f"{name} trains on, found {settings['neighbours']}"
                )
            confusable = nearest_classes(vectors, truth, len(classes), settings["neighbours"])
        drawn["confusable"] = confusable
    if kind == "list":
        train_names = [names[item] for item in train["item"]]
        imported = import_list(place("list"), train_names, truth, len(classes), settings["numbering"])
        if not imported.flipped:
            raise ValueError(f"{place('list')}: expected noisy labels, found the true ones of all images")
        drawn = {"noisy": imported.noisy}
    manifest = kind_manifest(split, kind, **drawn)
    noisy = manifest.loc[manifest["split"] == "train", "noisy_label"].to_numpy()
    table = noise_report(truth, noisy, len(classes))
    table.insert(1, "class_id", classes["class_id"].to_numpy())
    table.insert(2, "class_name", classes["class_name"].to_numpy())
    table["confusable"] = [" ".join(map(str, row)) for row in confusable] if confusable is not None else ""
    if hold_out:
        manifest = labels_without_held_out(manifest, kind, float(fraction), seed, confusable)
    return manifest, table, imported


def _place(key: str, path: str, root: Path, name: str, fraction: float) -> Path:
    """Path of a file that section `noise` names. ValueError if it does not exist."""
    place = root / Path(path.format(dataset=name, noise=fraction)).expanduser()
    if not place.is_file():
        raise ValueError(f"noise.{key}: expected a file, found nothing at {place}")
    return place


def small_pictures(images: Sequence, items: Sequence[int]) -> np.ndarray:
    """(n, 192) float32: each image shrunk to 8 x 8 RGB, minus the mean picture. Needs no network and no weights.

    These vectors show which classes are alike in colour and layout. Embeddings of a trained network show more.
    """
    rows = [
        np.asarray(Image.fromarray(np.asarray(images[item])).resize((SMALL, SMALL), Image.Resampling.BOX)).ravel()
        for item in items
    ]
    pictures = np.stack(rows).astype(np.float32)
    return pictures - pictures.mean(0)


def _embeddings(path: Path, truth: np.ndarray) -> np.ndarray:
    """Array `train` of a run's embeddings.npz. ValueError unless the run trained on the true labels of this half."""
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
