"""Parsers of the official archives: CUB-200-2011, Cars-196, Stanford Online Products, Omniglot, In-shop Clothes.

Class ids are 0-based in the official order, whose first half is the training half. Every parser returns a listing, or
raises a ValueError that names the file, the line and the expected content. No parser decodes an image.
"""

import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pfml.datasets.archives import Archive
from pfml.datasets.listing import Listing


def cub200(archive: Archive) -> Listing:
    """CUB_200_2011.tgz: images.txt, image_class_labels.txt and classes.txt, each with an id and a value per line."""
    root = "CUB_200_2011"

    def table(name: str) -> dict[int, tuple[str, str]]:
        rows = {}
        for where, (key, value) in _lines(archive, f"{root}/{name}", 2):
            number = _number(key, where, "an id")
            if number in rows:
                raise ValueError(f"{where}: id {number} a second time")
            rows[number] = (where, value)
        return rows

    classes, labels, images = table("classes.txt"), table("image_class_labels.txt"), table("images.txt")
    _same_ids(archive, "images.txt", images, "image_class_labels.txt", labels)
    rows = []
    for image, (where, path) in sorted(images.items()):
        label_at, label = labels[image]
        class_id = _number(label, label_at, "a class")
        if class_id not in classes:
            raise ValueError(f"{label_at}: class {class_id}, expected one of the {len(classes)} in classes.txt")
        rows.append((where, f"{root}/images/{path}", class_id - 1, classes[class_id][1]))
    return listing(rows, archive, archive.read)


def cars196(archive: Archive, annotations: Path) -> Listing:
    """car_ims.tgz with cars_annos.mat: `annotations` (relative_im_path, class, ...) and `class_names`."""
    from scipy.io import loadmat

    try:
        # loadmat raises half a dozen kinds of exceptions for a damaged file, ValueError and TypeError among them.
        content = loadmat(io.BytesIO(Path(annotations).read_bytes()), squeeze_me=True)
    except Exception as error:
        raise ValueError(f"{annotations}: not a readable .mat file ({error})") from error
    missing = {"annotations", "class_names"} - set(content)
    if missing:
        raise ValueError(f"{annotations}: has no {', '.join(sorted(missing))}; found {', '.join(sorted(content))}")
    table, names = np.atleast_1d(content["annotations"]), [str(n) for n in np.atleast_1d(content["class_names"])]
    missing = {"relative_im_path", "class"} - set(table.dtype.names or ())
    if missing:
        raise ValueError(f"{annotations}: annotations has no field {', '.join(sorted(missing))}")
    rows = []
    for number, (path, label) in enumerate(zip(table["relative_im_path"], table["class"]), 1):
        where = f"{annotations}: annotation {number}"
        class_id = _number(label, where, "a class")
        if not 1 <= class_id <= len(names):
            raise ValueError(f"{where}: class {class_id}, expected 1 to {len(names)}")
        rows.append((where, str(path), class_id - 1, names[class_id - 1]))
    return listing(rows, archive, archive.read)


def sop(archive: Archive) -> Listing:
    """Stanford_Online_Products.zip: Ebay_train.txt and Ebay_test.txt; the former's classes have the lower numbers.

    A class is one product. Its name is the kind of product and the number of the offer, as in the file names.
    """
    root, header = "Stanford_Online_Products", ["image_id", "class_id", "super_class_id", "path"]
    rows, splits = [], []
    last_of_train = 0
    for split in ("train", "test"):
        for where, (_, label, _, path) in _lines(archive, f"{root}/Ebay_{split}.txt", 4, header):
            class_id = _number(label, where, "a class_id")
            if split == "train":
                last_of_train = max(last_of_train, class_id)
            elif class_id <= last_of_train:
                raise ValueError(f"{where}: class {class_id} is a training class, expected above {last_of_train}")
            kind, _, file = path.rpartition("/")
            name = f"{kind.removesuffix('_final')} {file.rpartition('_')[0]}"
            rows.append((where, f"{root}/{path}", class_id - 1, name))
            splits.append(split)
    return listing(rows, archive, archive.read, splits)


def omniglot(background: Archive, evaluation: Archive) -> Listing:
    """images_background.zip and images_evaluation.zip: <set>/<alphabet>/<character>/<image>.png.

    The official order is that of the names, the background alphabets first. The background set (964 characters) is the
    training half, as in the dataset's own protocol; the 659 characters of the evaluation set are unseen.
    """
    rows, splits = [], []
    classes: dict[str, int] = {}
    for archive, root, split in (
        (background, "images_background", "train"),
        (evaluation, "images_evaluation", "test"),
    ):
        for name in sorted(archive.members):
            parts = name.split("/")
            if parts[0] != root or not name.endswith(".png") or parts[-1].startswith("."):
                continue  # files that macOS adds to archives
            if len(parts) != 4:
                raise ValueError(f"{archive.path}: {name}: expected {root}/<alphabet>/<character>/<image>.png")
            class_name = "/".join(parts[1:3])
            class_id = classes.setdefault(f"{split}/{class_name}", len(classes))
            rows.append((f"{archive.path}: {name}", name, class_id, class_name))
            splits.append(split)
        if split not in splits:
            raise ValueError(f"{archive.path}: holds no {root}/<alphabet>/<character>/<image>.png")
    return listing(rows, None, partial(_read_from, (background, evaluation)), splits)


def in_shop(archive: Archive, partition: Path) -> Listing:
    """img.zip with list_eval_partition.txt: the number of images, a header, and image, item and status of every image.

    A class is one item. Items of status train are the training half and get the lower class ids; of the others each
    image is a query or is in the gallery (column role).
    """
    header, roles = ["image_name", "item_id", "evaluation_status"], ("train", "query", "gallery")
    try:
        first, *lines = Path(partition).read_text(encoding="utf-8-sig").splitlines() or [""]
    except UnicodeDecodeError as error:
        raise ValueError(f"{partition}: not a text file ({error})") from None
    images = _number(first.strip(), f"{partition}:1", "the number of images,")
    found = [(f"{partition}:{number}", line.split()) for number, line in enumerate(lines, 2)]
    if not found or found[0][1] != header:
        line = lines[0] if lines else ""
        raise ValueError(f"{partition}:2: expected the header {' '.join(header)!r}, found {line!r}")
    entries = found[1:]
    if len(entries) != images:
        raise ValueError(f"{partition}: says {images:,} images in line 1, lists {len(entries):,}")
    half_of: dict[str, str] = {}
    for where, fields in entries:
        if len(fields) != 3 or fields[2] not in roles:
            raise ValueError(
                f"{where}: expected image_name, item_id and {', '.join(roles)}, found {' '.join(fields)!r}"
            )
        half = "train" if fields[2] == "train" else "test"
        if half_of.setdefault(fields[1], half) != half:
            raise ValueError(f"{where}: item {fields[1]} is in both halves, expected it in one")
    items = sorted(half_of, key=lambda item: (half_of[item] == "test", item))
    class_of = {item: class_id for class_id, item in enumerate(items)}
    rows = [(where, name, class_of[item], item) for where, (name, item, _) in entries]
    made = listing(rows, archive, archive.read, [half_of[item] for _, (_, item, _) in entries])
    made.table["role"] = [role for _, (_, _, role) in entries]
    return made


def listing(
    rows: list[tuple[str, str, int, str]], archive: Archive | None, read, splits: Sequence[str] = ()
) -> Listing:
    """A listing of the rows, in their order. A row: where the image is listed, its name, 0-based class id, class name.

    Raises:
        ValueError: no image, an image twice or not in the archive, or class ids with gaps.
    """
    seen: set[str] = set()
    for where, name, _, _ in rows:
        if name in seen:
            raise ValueError(f"{where}: image {name} a second time")
        if archive is not None and name not in archive:
            raise ValueError(f"{where}: image {name} is listed but not in {archive.path}")
        seen.add(name)
    if not rows:
        raise ValueError(f"{archive.path if archive else 'dataset'}: lists no image")
    table = pd.DataFrame([row[1:] for row in rows], columns=["name", "class_id", "class_name"])
    ids = np.unique(table["class_id"])
    gaps = np.flatnonzero(ids != np.arange(len(ids)))
    if len(gaps):
        raise ValueError(
            f"{rows[0][0]} and following: {len(ids)} classes numbered up to {ids[-1] + 1}, but class {gaps[0] + 1} has "
            "no image"
        )
    if splits:
        table["split"] = list(splits)
    return Listing(table, read)


def _lines(archive: Archive, name: str, columns: int, header: list[str] | None = None) -> Iterator[tuple[str, list]]:
    """(where, fields) of every line of a text file whose fields are separated by blanks."""
    try:
        lines = archive.read(name).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{archive.path}: {name}: not a text file ({error})") from None
    for number, line in enumerate(lines, 1):
        where, fields = f"{archive.path}: {name}:{number}", line.split()
        if header is not None and number == 1:
            if fields != header:
                raise ValueError(f"{where}: expected the header {' '.join(header)!r}, found {line!r}")
        elif len(fields) != columns:
            raise ValueError(f"{where}: expected {columns} columns, found {len(fields)}: {line!r}")
        else:
            yield where, fields


def _number(text, where: str, what: str) -> int:
    try:
        number = int(text)
    except (ValueError, TypeError):
        number = 0
    if number < 1:
        raise ValueError(f"{where}: expected {what} from 1 on, found {str(text)!r}")
    return number


def _same_ids(archive: Archive, name: str, one: dict, other_name: str, other: dict) -> None:
    difference = sorted(set(one) ^ set(other))
    if difference:
        first = difference[0]
        has, lacks = (name, other_name) if first in one else (other_name, name)
        raise ValueError(
            f"{archive.path}: image {first} is in {has} but not in {lacks} ({len(difference)} such images)"
        )


def _read_from(archives: Sequence[Archive], name: str) -> bytes:
    return next((archive for archive in archives if name in archive), archives[0]).read(name)
