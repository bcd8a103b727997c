"""What datasets exist, how many classes and images each must have, and how each reaches data/raw/<name>/.

A dataset at rest is three files: images.npy (uint8, images x height x width x RGB), items.csv (one line per image:
item, class_id, class_name) and meta.json (name, counts, content digest, source, licence).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pfml.config import ConfigError


@dataclass(frozen=True)
class Dataset:
    """One entry of the catalogue. The first `train_classes` class numbers are the training half (zero-shot split)."""

    name: str
    classes: int
    train_classes: int
    images: int
    source: str
    licence: str
    make: Callable[[], tuple[np.ndarray, np.ndarray, list[str], str]]


def _glyphs():
    from pfml.data import glyphs

    images, class_ids, names = glyphs.generate()
    digest = glyphs.digest(images, class_ids)
    glyphs.check_digest(digest)
    return images, class_ids, names, digest


CATALOGUE = {
    "glyphs": Dataset(
        name="glyphs", classes=200, train_classes=100, images=8000,
        source="rendered from the fonts that matplotlib ships (DejaVu, STIX)",
        licence="fonts: Bitstream Vera / STIX licences, both free to embed and redistribute",
        make=_glyphs,
    ),
}  # fmt: skip


def dataset(name: str) -> Dataset:
    """The catalogue's entry.

    Raises:
        ConfigError: unknown name.
    """
    if name not in CATALOGUE:
        raise ConfigError(f"grid.dataset: unknown dataset {name!r} (valid: {', '.join(CATALOGUE)})")
    return CATALOGUE[name]


def fetch(name: str, folder: Path) -> dict:
    """Make or fetch a dataset into `folder` and return its meta.json.

    Raises:
        ValueError: the counts are not those of the catalogue; nothing is written then.
    """
    entry = dataset(name)
    images, class_ids, class_names, digest = entry.make()
    found = (len(images), len(np.unique(class_ids)))
    if found != (entry.images, entry.classes):
        raise ValueError(
            f"{name}: found {found[0]} images of {found[1]} classes, expected {entry.images} of {entry.classes}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", images)
    items = pd.DataFrame({"item": np.arange(len(images)), "class_id": class_ids})
    items["class_name"] = [class_names[c] for c in class_ids]
    items.to_csv(folder / "items.csv", index=False)
    meta = {
        "name": name, "images": entry.images, "classes": entry.classes, "digest": digest,
        "source": entry.source, "licence": entry.licence,
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    return meta


def load_images(folder: Path) -> np.ndarray:
    """(n, height, width, 3) uint8, memory-mapped."""
    return np.load(folder / "images.npy", mmap_mode="r")
