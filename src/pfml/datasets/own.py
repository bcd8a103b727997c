"""Images of your own as a Listing: a folder with one folder a class, or a CSV of paths and labels.

No image is decoded here; packing the listing names the files that cannot be read, dead links among them.
"""

import csv
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from pfml.datasets.listing import Listing
from pfml.datasets.unicode_forms import OtherForm, form, twins
from pfml.images.decode import EXTENSIONS

COLUMNS = ("path", "label", "split")  # of a CSV; others are ignored
SHOWN = 5  # problems that an error lists before it only counts them


def folder_listing(path: str | Path) -> Listing:
    """One folder a class: path/<class>/<image>. Classes and images in natural order (2 before 10).

    Files count as images by their extension (`pfml.images.decode.EXTENSIONS`, any case). Other and hidden files are
    ignored, with a warning that counts them. Hidden folders are skipped. Warns of classes, and of images of a class,
    whose names differ in their Unicode form alone.

    Raises:
        ValueError: no folder there; no class folder; a class folder without images; images or dead links beside them; a
            folder inside a class folder (it could be a class, a half or a view: say which with a CSV); a name that is
            not UTF-8.
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"{root}: expected a folder with one folder a class, found {_kind(root)}")
    classes, loose = _entries(root)
    if dead := [name for name in loose if not name.startswith(".") and _dead(root / name)]:
        raise ValueError(
            f"{root}: expected class folders, found {len(dead)} links to what is not there: {_some(dead)}; remove them"
        )
    ignored: Counter[str] = Counter()
    if strays := _images(loose, ignored):
        raise ValueError(f"{root / strays[0]}: expected images inside class folders, found {len(strays)} beside them")
    rows, alike = [], twins(classes)
    for class_id, class_name in enumerate(classes):
        folders, files = _entries(root / class_name)
        if folders:
            raise ValueError(
                f"{root / class_name / folders[0]}: expected images right inside class folder {class_name}, found a "
                "folder; name the folder above the classes, or list paths and labels in a CSV"
            )
        images = _images(files, ignored)
        if not images:
            raise ValueError(
                f"{root / class_name}: expected images of class {class_name}, found none; remove the folder"
            )
        rows += [(f"{class_name}/{image}", class_id, class_name) for image in images]
        alike += [f"{class_name}/{image}" for image in twins(images)]
    _warn_of_twins(root, "names", alike)
    if not rows:
        raise ValueError(f"{root}: expected one folder a class, found no folder")
    if ignored:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(ignored.items()))
        warnings.warn(f"{root}: ignored {ignored.total()} files that are no images by name: {kinds}", stacklevel=2)
    return Listing(pd.DataFrame(rows, columns=["name", "class_id", "class_name"]), partial(_read, root))


def csv_listing(path: str | Path) -> Listing:
    """A CSV (UTF-8, commas, one header line) with the columns path, label and optionally split; others are ignored.

    Paths are relative to the CSV's folder. Labels are any text; integers too are names, so 1 and 01 are two classes.
    Images stay in the order of the file. Classes are numbered in natural order of their labels; with a column split,
    those of "train" come first. Warns of labels, and of paths, that differ in their Unicode form alone.

    Raises:
        ValueError: the file is not readable as CSV, lacks a column or its header, has a column twice, or has a line
            with more or fewer fields, an empty path or label, a path listed twice, an absent file (says if it is there
            by a Windows path or in another Unicode form), a split other than train and test, or a class in both halves;
            names the file and the lines.
    """
    path = Path(path)
    table = _read_csv(path)
    problems = [*_line_problems(table, path.parent), *_repeated(table), *_class_in_both(table)]
    if problems:
        shown = "".join(f"\n  line {line}: {what}" for line, what in sorted(problems)[:SHOWN])
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError(f"{path}: {len(problems)} lines cannot be used{shown}{more}")
    _warn_of_twins(path, "labels", twins(table["label"]))
    _warn_of_twins(path, "paths", twins(table["path"]))
    table["name"] = [os.path.normpath(name) for name in table["path"]]
    table["class_name"] = table["label"]
    halves = table["split"] if "split" in table else pd.Series("", index=table.index)
    # "train" has to come before "test", unlike in the alphabet.
    order = sorted(set(zip(halves == "test", table["label"])), key=lambda pair: (pair[0], natural(pair[1])))
    number = {label: class_id for class_id, (_, label) in enumerate(order)}
    table["class_id"] = [number[label] for label in table["label"]]
    columns = ["name", "class_id", "class_name", *(["split"] if "split" in table else [])]
    return Listing(table[columns], partial(_read, path.parent))


def natural(text: str) -> tuple:
    """Sort key in which numbers inside a text count as numbers: a2 < a10. Total: different texts, different keys."""
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], text


def _read(root: Path, name: str) -> bytes:
    """ValueError for a dead link, which is one image's fault; OSError else, a disk's or a network's."""
    try:
        return (root / name).read_bytes()
    except OSError:
        if _dead(root / name):
            raise ValueError(f"{name}: a link to a file that is not there") from None
        raise


def _dead(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _warn_of_twins(where: Path, what: str, found: list[str]) -> None:
    if found:
        warnings.warn(
            f"{where}: {len(found)} {what} are there in two Unicode forms, which look alike and count as different: "
            f"{_some(found)}; rename one if they are the same",
            stacklevel=3,
        )


def _kind(path: Path) -> str:
    return "a file" if path.is_file() else "nothing"


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the visible folders, and of all files, each in natural order."""
    folders, files = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.isprintable():
                raise ValueError(
                    f"{folder}: expected names of printable UTF-8, found {os.fsencode(entry.name)!r}; rename it"
                )
            if not _is_dir(entry):
                files.append(entry.name)
            elif not entry.name.startswith("."):
                folders.append(entry.name)
    return sorted(folders, key=natural), sorted(files, key=natural)


def _is_dir(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _images(files: list[str], ignored: Counter) -> list[str]:
    """The files that are images by their name; the others are counted into `ignored`."""
    images = []
    for file in files:
        kind = "hidden" if file.startswith(".") else Path(file).suffix.lower() or "without extension"
        if kind in EXTENSIONS:
            images.append(file)
        else:
            ignored[kind] += 1
    return images


def _check_header(path: Path, fields: list[str]) -> None:
    if twice := sorted(name for name in COLUMNS if fields.count(name) > 1):
        raise ValueError(f"{path}: line 1: expected each column once, found {', '.join(twice)} again in {fields}")
    missing = {"path", "label"} - set(fields)
    if missing and any(Path(name.replace("\\", "/")).suffix.lower() in EXTENSIONS for name in fields):
        raise ValueError(
            f"{path}: line 1: expected a header path,label[,split] above the images, found an image's line: {fields}"
        )
    if missing:
        raise ValueError(
            f"{path}: line 1: expected the columns path, label[, split], separated by commas; missing "
            f"{', '.join(sorted(missing))}, found {fields}"
        )


def _read_csv(path: Path) -> pd.DataFrame:
    """Table with the columns line, path, label (and split), stripped of spaces. ValueError if the CSV has no such."""
    rows, split = [], False
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            fields = reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            _check_header(path, fields)
            split = "split" in fields
            for row in reader:
                if None in row or None in row.values():
                    count = len(row) - 1 + len(row[None]) if None in row else sum(v is not None for v in row.values())
                    raise ValueError(
                        f"{path}: line {reader.line_num}: expected {len(fields)} fields, found {count}; put quotes "
                        "around text that contains a comma"
                    )
                line = {"line": reader.line_num, "path": row["path"].strip(), "label": row["label"].strip()}
                rows.append(line | ({"split": row["split"].strip()} if split else {}))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected UTF-8, found {error.reason} at byte {error.start}; save it as UTF-8"
        ) from None
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num + 1}: not readable as CSV: {error}") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); expected a CSV file") from None
    if not rows:
        raise ValueError(f"{path}: expected at least one image below the header, found none")
    return pd.DataFrame(rows)


def _line_problems(table: pd.DataFrame, folder: Path) -> Iterator[tuple[int, str]]:
    other_form = OtherForm()
    for row in table.itertuples():
        if not row.path or not row.label:
            yield row.line, f"expected a path and a label, found {row.path!r} and {row.label!r}"
        elif not (row.path + row.label).isprintable():
            yield row.line, f"expected printable text, found {row.path!r} and {row.label!r}"
        elif not (folder / row.path).is_file() and not _dead(folder / row.path):
            yield row.line, _absent(folder, row.path, other_form)
        if "split" in table and row.split not in ("train", "test"):
            yield row.line, f"split: expected train or test, found {row.split!r}"


def _absent(folder: Path, path: str, other_form: OtherForm) -> str:
    """Why there is no such file, as far as can be seen."""
    if "\\" in path or re.match("[A-Za-z]:", path):
        drive = " and no drive" if re.match("[A-Za-z]:", path) else ""
        return f"{path}: no such file below {folder}: a Windows path; expected / between folders{drive}"
    found = other_form(folder, path)
    if found is not None:
        return (
            f"{path}: no such file below {folder} in this Unicode form ({form(path)}): the disk has it in another "
            f"({form(found)}), which looks the same; write it as a program lists it, or rename the file"
        )
    return f"{path}: no such file below {folder}"


def _repeated(table: pd.DataFrame) -> Iterator[tuple[int, str]]:
    first: dict[str, int] = {}
    for line, path in zip(table["line"], table["path"]):
        name = os.path.normpath(path)
        if path and name in first:
            yield line, f"{path}: listed before, in line {first[name]}"
        first.setdefault(name, line)


def _class_in_both(table: pd.DataFrame) -> Iterator[tuple[int, str]]:
    if "split" not in table:
        return
    first = {half: rows.groupby("label")["line"].min() for half, rows in table.groupby("split")}
    if {"train", "test"} <= set(first):
        for label in first["train"].index.intersection(first["test"].index):
            lines = sorted((int(first["train"][label]), int(first["test"][label])))
            yield lines[1], f"class {label!r} is in both halves (the other in line {lines[0]}); a class belongs to one"
