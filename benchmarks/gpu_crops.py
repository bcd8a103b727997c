"""The photographs of benchmarks/gpu.py: the bundle's crops, or, in a miniature without a bundle, generated pictures."""

import colorsys
import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from loader import natural
from PIL import Image

from pfml.datasets.listing import Listing
from pfml.datasets.pack import pack
from pfml.images.packed import PackedImages, read_items
from pfml.labels.noise import corrupt_labels
from pfml.settings.run import Run
from pfml.training.batches.run_data import Half, RunData
from pfml.training.batches.transforms import Transform

SOURCE = "data/cars98/cars98.zip"  # in the folder of PFML_REAL_DATA
MOST = 20_000_000  # bytes of all files of the pack of crops


def collect(real: Path, folder: Path) -> dict:
    """Pack the crops as they are, at most MOST bytes: as many images of every class as fit. Returns meta.json.

    Raises:
        ValueError: one image a class is too much.
    """
    with zipfile.ZipFile(real / SOURCE) as archive:
        rows = pd.DataFrame(csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"), "utf-8")))
        rows["class_id"] = rows["class_id"].astype(int).rank(method="dense").astype(int) - 1
        rows["name"], rows["turn"] = rows["file"], rows.groupby("class_id").cumcount()
        for most in range(rows["turn"].max() + 1, 0, -1):
            kept = rows[rows["turn"] < most].drop(columns=["file", "turn"])
            meta = pack(Listing(kept, archive.read), folder, "cars98", source=f"at most {most} images a class")
            if sum(path.stat().st_size for path in folder.iterdir()) <= MOST:
                return meta
    raise ValueError(f"{real / SOURCE}: one image a class takes more than {MOST} bytes")


def generated(folder: Path, classes: int = 12, each: int = 10) -> None:
    """An exact pack of small pictures, one hue a class; the first half of the classes trains."""
    rows = [(f"{c}/{i}.jpg", c, str(c), "train" if c < classes // 2 else "test")
            for c in range(classes) for i in range(each)]  # fmt: skip

    def read(name: str) -> bytes:
        number, i = map(int, name.removesuffix(".jpg").split("/"))
        grey = np.asarray(natural(100 * number + i, 80, 96), dtype=float)
        hue = np.array(colorsys.hsv_to_rgb(number / classes, 0.6, 1.0))
        file = io.BytesIO()
        Image.fromarray((grey * hue).astype(np.uint8)).save(file, "JPEG")
        return file.getvalue()

    pack(Listing(pd.DataFrame(rows, columns=["name", "class_id", "class_name", "split"]), read), folder, "generated")


def fast_pack(exact: Path, folder: Path, short_side: int, classes: int | None = None, each: int = 10) -> PackedImages:
    """The pictures of an exact pack as uint8 of one short side; made once.

    Args:
        classes: of a miniature, which takes `each` images of that many classes of each half.
    """
    if not (folder / "meta.json").exists():
        images, items = PackedImages(exact), read_items(exact)
        if classes is not None:
            first = items.groupby("split")["class_id"].transform(lambda ids: ids.rank(method="dense")) <= classes
            items = items[first & (items.groupby("class_id").cumcount() < each)]
        places = dict(zip(items["name"], items["item"]))
        table = items[["name", "class_id", "class_name", "split"]].reset_index(drop=True)
        table["class_id"] = table["class_id"].rank(method="dense").astype(int) - 1
        listing = Listing(table, lambda name: images.bytes(places[name]))
        pack(listing, folder, images.meta["name"], mode="fast", short_side=short_side, source=images.meta["source"])
    return PackedImages(folder)


def run_data(run: Run, images: PackedImages, pictures: Callable[[np.ndarray, Transform], object], transform) -> RunData:
    """The halves by the pack's own split, with run.noise of the training labels wrong, drawn as the pipeline draws.

    Args:
        pictures: rows of the pack and a transform -> a source of batches.
    """
    items = read_items(images.folder)
    halves = {}
    for name in ("train", "test"):
        rows = items[items["split"] == name]
        labels = np.unique(rows["class_id"], return_inverse=True)[1]
        halves[name] = pictures(rows["item"].to_numpy(), transform), labels
    truth = halves["train"][1]
    classes = int(truth.max()) + 1
    noisy, _ = corrupt_labels(truth, run.noise, run.seed, classes)
    train, test = (
        Half(source, torch.as_tensor(np.array(labels)))
        for (source, _), labels in zip(halves.values(), (noisy, halves["test"][1]))
    )
    return RunData(train, test, None, classes, torch.as_tensor(truth))
