"""Copies of Cars-196 and Stanford Online Products in other file formats: Hugging Face parquet files, a Kaggle zip.

The copies are split for classification, with every class in both halves. The parsers join the halves; the split by
class comes later.
"""

import csv
import io
import json
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock

from pfml.datasets.archives import Archive
from pfml.datasets.layouts import listing
from pfml.datasets.listing import Listing

_reading = Lock()  # so that threads that need the same row group read it once


def cars196_parquet(paths: Sequence[Path]) -> Listing:
    """Parquet files with columns image {bytes, path} and label (0-based, in the official order of the classes)."""
    rows, images = [], {}
    names: list[str] = []
    for path in map(Path, paths):
        names = names or _label_names(path)
        for row, label in enumerate(_column(path, "label")):
            name = f"{path.stem}/{row:06d}"
            if not isinstance(label, int) or label < 0 or (names and label >= len(names)):
                raise ValueError(f"{path}: row {row}: label {label!r}, expected 0 to {(len(names) or 196) - 1}")
            images[name] = (str(path), row)
            rows.append((f"{path}: row {row}", name, label, names[label] if names else f"class {label + 1}"))
    return listing(rows, None, partial(_image, images))


def sop_parquet(train: Sequence[Path], test: Sequence[Path]) -> Listing:
    """Parquet files with columns image {bytes, path}, item_id (one product) and image_path (as in the official zip).

    The files lack the official class numbers. Classes are numbered in the order of first appearance instead.
    """
    rows, images, splits = [], {}, []
    classes: dict[str, int] = {}
    for split, paths in (("train", train), ("test", test)):
        train_items = set(classes) if split == "test" else set()
        for path in map(Path, paths):
            for row, (item, name) in enumerate(zip(_column(path, "item_id"), _column(path, "image_path"))):
                where, item = f"{path}: row {row}", str(item)
                if item in train_items:
                    raise ValueError(f"{where}: item {item} is a training class, expected an unseen one")
                if not isinstance(name, str) or not name:
                    raise ValueError(f"{where}: image_path {name!r}, expected a name")
                images[name] = (str(path), row)
                kind = name.rpartition("/")[0].removesuffix("_final")
                rows.append((where, name, classes.setdefault(item, len(classes)), f"{kind} {item}".strip()))
                splits.append(split)
    return listing(rows, None, partial(_image, images), splits)


def cars196_folders(archive: Archive) -> Listing:
    """Kaggle's stanford-car-dataset-by-classes-folder: names.csv, anno_train.csv, anno_test.csv and a folder a class.

    A line of anno_*.csv has file, x1, y1, x2, y2, class (1-based). The folder is named after the class, with - for /.
    """
    names = [line.strip() for line in archive.read("names.csv").decode("utf-8").splitlines() if line.strip()]
    rows = []
    for half in ("train", "test"):
        text = archive.read(f"anno_{half}.csv").decode("utf-8")
        for number, fields in enumerate(csv.reader(io.StringIO(text)), 1):
            where = f"{archive.path}: anno_{half}.csv:{number}"
            if len(fields) != 6 or not fields[5].strip().isdigit():
                raise ValueError(f"{where}: expected file,x1,y1,x2,y2,class, found {','.join(fields)!r}")
            class_id = int(fields[5]) - 1
            if not 0 <= class_id < len(names):
                raise ValueError(f"{where}: class {class_id + 1}, expected 1 to {len(names)}")
            folder = names[class_id].replace("/", "-")
            rows.append((where, f"car_data/car_data/{half}/{folder}/{fields[0]}", class_id, names[class_id]))
    return listing(rows, archive, archive.read)


def _open(path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, pa.ArrowException) as error:
        raise ValueError(f"{path}: not a readable parquet file ({error})") from None


def _column(path: Path, name: str) -> list:
    with _open(path) as file:
        if name not in file.schema_arrow.names:
            raise ValueError(f"{path}: has no column {name!r}; found {', '.join(file.schema_arrow.names)}")
        return file.read(columns=[name]).column(name).to_pylist()


def _label_names(path: Path) -> list[str]:
    """The class names that the Hugging Face library writes into the schema; empty if there are none."""
    with _open(path) as file:
        metadata = (file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        return list(json.loads(metadata)["info"]["features"]["label"]["names"])
    except (ValueError, KeyError, TypeError):
        return []


def _image(images: dict[str, tuple[str, int]], name: str) -> bytes:
    if name not in images:
        raise ValueError(f"{name}: no such image in the parquet files")
    path, row = images[name]
    group, start = _row_group_of(path, row)
    with _reading:
        cells = _row_group(path, group)
    cell = cells[row - start].as_py()
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes) or not content:
        raise ValueError(f"{path}: row {row}: column image holds no bytes")
    return content


@lru_cache(maxsize=32)
def _group_starts(path: str) -> list[int]:
    with _open(Path(path)) as file:
        starts = [0]
        for group in range(file.num_row_groups):
            starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
    return starts


def _row_group_of(path: str, row: int) -> tuple[int, int]:
    starts = _group_starts(path)
    group = next(g for g in range(len(starts) - 1) if row < starts[g + 1])
    return group, starts[group]


@lru_cache(maxsize=2)  # images are read in order, so that one group of some hundred images is in use at a time
def _row_group(path: str, group: int):
    with _open(Path(path)) as file:
        return file.read_row_group(group, columns=["image"], use_threads=False).column("image")
