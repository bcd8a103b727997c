"""The datasets of the catalogue, and how each dataset reaches data/raw/<name>/.

Datasets of the catalogue are drawn (glyphs) or fetched (pfml.datasets.sources). Your own are read from a folder or a
CSV file (pfml.datasets.own). On disk a dataset is a pack (pfml.images.packed). The small glyphs are one array instead:
images.npy (uint8, images x height x width x RGB), items.csv (item, class_id, class_name) and meta.json (counts, content
digest, source, licence).
"""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from pfml.datasets.sources import DATASETS, Entry
from pfml.settings import ConfigError
from pfml.settings.schema import Dataset

GLYPHS = Entry(
    name="glyphs", forms=(), classes=200, train_classes=100, train_images=4000, test_images=4000, bytes=0,
    licence="fonts: Bitstream Vera / STIX licences, both free to embed and redistribute",
    citation="rendered from the fonts that matplotlib ships (DejaVu, STIX)",
)  # fmt: skip
CATALOGUE = {"glyphs": GLYPHS, **DATASETS}


def fetch(name: str, settings: Dataset, folder: Path, root: Path = Path()) -> dict:
    """Make, fetch or read a dataset into `folder` and return its meta.json.

    Args:
        name: a key of CATALOGUE, or the name of your own dataset.
        settings: the dataset's section of params.yaml.
        folder: data/raw/<name>, replaced as a whole or left as it is.
        root: of the project. Downloads go to data/downloads/<name>/ below it, files that the user fetched by hand are
            looked up in data/manual/, and a relative `settings.path` starts there.

    Raises:
        ConfigError: a name that is not in the catalogue.
        DownloadError: no source gave the files; lists every attempt and says which file to put where by hand.
        ValueError: wrong counts, unreadable images, or a folder or CSV that cannot be used.
    """
    if settings.kind == "catalogue" and name == "glyphs":
        return _draw(folder)
    from pfml.datasets.pack import pack

    how = {"mode": settings.pack, "short_side": settings.short_side, "skip_unreadable": settings.skip_unreadable}
    if settings.kind != "catalogue":
        return pack(_own(name, settings, root), folder, name, **how, source=f"your own ({settings.kind})")
    from pfml.datasets.sources import open_dataset

    if name not in CATALOGUE:
        raise ConfigError(f"grid.dataset: unknown dataset {name!r} (valid: {', '.join(CATALOGUE)})")
    from filelock import FileLock

    downloads = root / "data/downloads" / name
    (root / ".locks").mkdir(exist_ok=True)
    with FileLock(root / ".locks" / f"fetch-{name}"):  # another experiment may share the downloads
        listing = open_dataset(name, downloads, root / "data/manual")
        attributes = listing.table.attrs
        source = f"{CATALOGUE[name].citation}; {attributes['form']}"
        meta = pack(listing, folder, name, **how, source=source, licence=attributes["licence"])
        for inflated in downloads.glob("*.tar"):  # as large as the images; the .tgz suffices to make it again
            inflated.unlink()
    return meta


def _own(name: str, settings: Dataset, root: Path):
    """The listing of a folder or CSV. ValueError names the section if there are too few classes for two halves."""
    from pfml.datasets.own import csv_listing, folder_listing

    path = root / os.path.expanduser(settings.path)
    listing = {"folder": folder_listing, "csv": csv_listing}[settings.kind](path)
    classes = listing.table["class_id"].nunique()
    if classes < 2:
        raise ValueError(
            f"dataset.{name}.path: expected at least two classes, to train on one and test on the other, "
            f"found {classes} in {path}"
        )
    if (settings.train_classes or 1) >= classes:
        raise ValueError(
            f"dataset.{name}.train_classes: expected 1 to {classes - 1}, since some of the {classes} classes of {path} "
            f"must be left to test on; found {settings.train_classes}"
        )
    return listing


def _draw(folder: Path) -> dict:
    from pfml.datasets import glyphs

    images, class_ids, class_names = glyphs.generate()
    digest = glyphs.digest(images, class_ids)
    glyphs.check_digest(digest)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", images)
    items = pd.DataFrame({"item": np.arange(len(images)), "class_id": class_ids})
    items["class_name"] = [class_names[c] for c in class_ids]
    items.to_csv(folder / "items.csv", index=False)
    meta = {
        "name": "glyphs", "images": len(images), "classes": len(class_names), "digest": digest,
        "source": GLYPHS.citation, "licence": GLYPHS.licence,
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return meta
