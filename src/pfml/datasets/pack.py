"""Write a dataset as a pack: a few large files instead of one per image, with random access by memory map.

A pack is a folder with

- `images.bin` (mode exact): the original files one after the other, which RandomResizedCrop from the full image needs;
  or `pixels.bin` (mode fast): uint8 RGB, rows x columns x 3, at a fixed short side, for cropping on the GPU;
- `index.npy`: (n, 2) int64 offset and length in bytes, or (n, 3) offset, height and width;
- `items.csv`: item, class_id, class_name, name, width, height, sha256 (and split and role where the source fixes them).
  Size and digest are those of the upright full image in both modes: checks and splits do not depend on the mode;
- `meta.json`: name, images, classes, digest, source, licence, mode, short_side (null if exact), bytes, skipped.

The embedded dataset has `images.npy` in place of the first two; `pfml.images.packed.open_images` reads either.
"""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pfml.datasets.listing import Listing
from pfml.images.decode import check_thin, content_digest, decode, resized
from pfml.images.packed import BINS
from pfml.images.threads import ordered

SHOWN = 20  # unreadable files that an error names before it only counts them


def pack(
    listing: Listing, folder: Path, name: str, mode: str = "exact", short_side: int = 256,
    skip_unreadable: bool = False, source: str = "", licence: str = "", threads: int | None = None,
) -> dict:  # fmt: skip
    """Write the listing's images into `folder` and return its meta.json. Every image is decoded, in either mode.

    Memory grows with the number of images only by their lines in tables. The pack is written beside `folder` and
    renamed at the end, so that an interruption leaves no half pack; the next call removes its remains. Only one process
    may pack into a folder.

    Args:
        folder: an existing dataset in it is replaced.
        name, source, licence: for meta.json.
        mode: "exact" or "fast".
        short_side: pixels, mode fast only; see `resized`. Smaller images are enlarged.
        skip_unreadable: leave out images that cannot be read or decoded, or are too thin, and name them in meta.json,
            instead of stopping.
        threads: number of decoding threads; default one per processor, at most 8.

    Raises:
        ValueError: wrong table, mode or short side; unreadable images (all are tried first); a class of which no image
            can be read.
        FileExistsError: `folder` holds something else than a pack.
    """
    table = checked_table(listing.table)
    if mode not in BINS or short_side < 1:
        raise ValueError(f"expected mode exact or fast and a short side from 1, found {mode!r} and {short_side!r}")
    folder = Path(folder)
    _check_replaceable(folder)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        meta = {"name": name, "source": source, "licence": licence, "mode": mode}
        meta["short_side"] = short_side if mode == "fast" else None
        encode = partial(_encode, short_side=meta["short_side"])
        meta |= _write(table, listing.read, encode, unfinished, BINS[mode], skip_unreadable, threads)
        (unfinished / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        _put(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return meta


def checked_table(table: pd.DataFrame) -> pd.DataFrame:
    """The listing's table with a plain index. ValueError unless it has the columns and values that `Listing` states."""
    missing = {"name", "class_id", "class_name"} - set(table)
    if missing or not len(table):
        raise ValueError(f"listing: expected a line per image, found {len(table)}; missing columns: {sorted(missing)}")
    table = table.reset_index(drop=True)
    if table["name"].duplicated().any():
        raise ValueError(
            f"listing: expected each name once, found {table['name'][table['name'].duplicated()].iloc[0]} again"
        )
    ids = np.unique(table["class_id"])
    if ids.dtype.kind not in "iu" or not np.array_equal(ids, np.arange(len(ids))):
        raise ValueError(f"listing: expected class_id 0 to {len(ids) - 1} without gaps, found {ids[:5]} ... {ids[-1]}")
    pairs = table[["class_id", "class_name"]].drop_duplicates()
    if len(pairs) != len(ids) or pairs["class_name"].duplicated().any():
        raise ValueError(f"listing: expected one class_name per class_id, found {len(pairs)} pairs for {len(ids)} ids")
    if "split" in table and not table["split"].isin(["train", "test"]).all():
        raise ValueError(f"listing: split: expected train or test, found {sorted(set(map(str, table['split'])))}")
    return table


def _encode(item: tuple[str, bytes | Exception], short_side: int | None) -> dict | str:
    """The columns, place and bytes of one image in the pack, or the reason why it cannot be read."""
    name, data = item
    try:
        if isinstance(data, Exception):
            raise ValueError(
                getattr(data, "strerror", None) or str(data)
            )  # an OSError's text has a path of this machine
        image = decode(data, name)
        check_thin(*image.size)
        columns = {"width": image.width, "height": image.height, "sha256": content_digest(image)}
        if short_side is None:
            return {"columns": columns, "place": (len(data),), "data": data}
        small = resized(image, short_side)
    except ValueError as error:
        return str(error) if str(error).startswith(f"{name}: ") else f"{name}: {error}"
    return {"columns": columns, "place": (small.height, small.width), "data": small.tobytes()}


def _contents(names: Iterable[str], read: Callable[[str], bytes]) -> Iterator[tuple[str, bytes | Exception]]:
    """Name and bytes of every file, or the error of a file without permission or with bad content.

    Other errors stop packing: a failing disk or network, or a file that was removed since it was listed.
    """
    for name in names:
        try:
            yield name, read(name)
        except (PermissionError, IsADirectoryError, ValueError) as error:
            yield name, error


def _write(table, read, encode, folder: Path, bin_name: str, skip_unreadable: bool, threads: int | None) -> dict:
    """Write the large file, index.npy and items.csv; return their part of meta.json."""
    columns = [column for column in ("class_id", "class_name", "name", "split", "role") if column in table]
    index, skipped, kept, total, digest = [], {}, set(), 0, hashlib.sha256()
    with open(folder / bin_name, "wb") as large, open(folder / "items.csv", "w", newline="", encoding="utf-8") as lines:
        items = csv.writer(lines, lineterminator="\n")
        items.writerow(["item", *columns, "width", "height", "sha256"])
        for row, encoded in zip(table[columns].itertuples(), ordered(encode, _contents(table["name"], read), threads)):
            if isinstance(encoded, str):
                skipped[row.name] = encoded
                continue
            items.writerow([len(index), *row[1:], *encoded["columns"].values()])
            digest.update(f"{row.class_id} {encoded['columns']['sha256']}\n".encode())
            large.write(encoded["data"])
            index.append((total, *encoded["place"]))
            total += len(encoded["data"])
            kept.add(row.class_id)
    if skipped and not skip_unreadable:
        raise ValueError(_unreadable(skipped, len(table)))
    if lost := sorted(set(table["class_id"]) - kept):
        names = table.drop_duplicates("class_id").set_index("class_id")["class_name"]
        raise ValueError(
            f"{len(lost)} classes without a readable image: {[names[c] for c in lost[:SHOWN]]}; remove them"
        )
    np.save(folder / "index.npy", np.array(index, dtype=np.int64))
    return {
        "images": len(index), "classes": len(kept), "digest": digest.hexdigest(), "bytes": total, "skipped": skipped,
    }  # fmt: skip


def _unreadable(skipped: dict[str, str], images: int) -> str:
    lines = [f"\n  {reason}" for reason in list(skipped.values())[:SHOWN]]
    if len(skipped) > SHOWN:
        lines.append(f"\n  and {len(skipped) - SHOWN} more")
    advice = "repair or remove them, or leave them out with skip_unreadable"
    return f"{len(skipped)} of {images} images cannot be read; {advice}:{''.join(lines)}"


def _put(new: Path, folder: Path) -> None:
    """Move the new pack to `folder`, and only then delete the old one."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    """Raises FileExistsError if `folder` holds anything but a pack, since packing would delete it."""
    if folder.exists() and not (folder.is_dir() and ((folder / "meta.json").exists() or not any(folder.iterdir()))):
        raise FileExistsError(
            f"{folder}: expected nothing, an empty folder or a pack, found something else; move it away"
        )
