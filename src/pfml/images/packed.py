"""Read a dataset on disk: random access to images by number, from a pack (see `pfml.datasets.pack`) or an array."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pfml.images.decode import content_digest, decode
from pfml.images.threads import ordered

BINS = {"exact": "images.bin", "fast": "pixels.bin"}  # the large file of each mode


class PackedImages:
    """The images of a pack: len(images), images[i] as (height, width, 3) uint8, images.bytes(i).

    In mode fast images[i] is a read-only view of the memory map; in mode exact it is decoded on each access. Pickling
    passes only the folder, and a fork shares the map, so that worker processes read the files themselves.

    Raises:
        ValueError: the folder holds no pack, or its large file is shorter or longer than its index says.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).resolve()
        try:
            self.meta = json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))
            self.mode = self.meta["mode"]
            path = self.folder / BINS[self.mode]
            self.index = np.load(self.folder / "index.npy")
            size = path.stat().st_size
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{folder}: expected a pack (meta.json, index.npy and a large file): {error}; pack again"
            ) from None
        if size != self.meta["bytes"] or len(self.index) != self.meta["images"]:
            raise ValueError(
                f"{folder}: {path.name}: expected {self.meta['images']} images in {self.meta['bytes']} bytes, found "
                f"{len(self.index)} in {size}; the pack is damaged, pack again"
            )
        self._large = np.memmap(path, np.uint8, "r").view(np.ndarray)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> np.ndarray:
        if self.mode == "exact":
            return np.asarray(decode(self.bytes(item), f"{self.folder}, image {item}"))
        offset, height, width = self.index[item]
        return self._large[offset : offset + height * width * 3].reshape(height, width, 3)

    def bytes(self, item: int) -> bytes:
        """The original file. ValueError in mode fast, which does not keep it."""
        if self.mode != "exact":
            raise ValueError(f"{self.folder}: original files are in a pack of mode exact only, this one is {self.mode}")
        offset, length = self.index[item]
        return self._large[offset : offset + length].tobytes()

    def __reduce__(self):
        return PackedImages, (self.folder,)


class ArrayImages:
    """The images of an images.npy, all of one size. images[i] and images[i:j] are views of the memory map."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).resolve()
        self.array = np.load(self.folder / "images.npy", mmap_mode="r").view(np.ndarray)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, item) -> np.ndarray:
        return self.array[item]

    def __reduce__(self):
        return ArrayImages, (self.folder,)


def open_images(folder: str | Path) -> PackedImages | ArrayImages:
    """The images of data/raw/<name>, whatever form they are in. ValueError if there are none."""
    return ArrayImages(folder) if (Path(folder) / "images.npy").exists() else PackedImages(folder)


def read_items(folder: str | Path) -> pd.DataFrame:
    """items.csv with all names as text, since a class may be called 007 or NA."""
    text = dict.fromkeys(("class_name", "name", "split", "sha256"), str)
    return pd.read_csv(Path(folder) / "items.csv", dtype=text, keep_default_na=False)


def digests(images: PackedImages | ArrayImages, threads: int | None = None) -> Iterator[str]:
    """`content_digest` of every image in order, as stored: in mode fast smaller than the originals."""
    return ordered(lambda item: content_digest(images[item]), range(len(images)), threads)
