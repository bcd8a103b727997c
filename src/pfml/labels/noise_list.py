"""Import public lists of noisy labels, and report their flaws.

The format is that of PRISM (Liu et al., "Noise-resistant Deep Metric Learning With Ranking-Based Instance Selection",
CVPR 2021; github.com/alibaba-edu/Ranking-based-Instance-Selection, datalist/*noised_train.csv, MIT): no header, a line
for each training image, its path as on the authors' disk, a comma, the noisy label:

    /data/CUB_200_2011/images/001.Black_footed_Albatross/Black_Footed_Albatross_0006_796065.jpg,41

Properties of these lists:
- Symmetric lists (<dataset>_0.1noised_train.csv, 0.2, 0.5) number the classes officially from 1: numbering=1.
- Small-cluster lists (<dataset>_0.25smallclusternoised_train.csv, 0.5) dissolve whole classes into others and number
  the labels that are left from 0, as they appear down the file: numbering="matched".
- No list has the true labels. <...>noised_cleaned_train.csv is the same list without the moved samples; `import_list`
  would count those as missing.
- CUB's symmetric lists give some samples label 101, a test class: 6 at 0.2, 28 at 0.5.
- Cars-196 paths are <class name>/<number>.jpg, a layout of the authors' own. `names` must have the same layout.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pfml.labels.noise import check_labels
from pfml.labels.report import noise_report


@dataclass(frozen=True)
class ImportedList:
    """Noisy labels of a training half, and the flaws of the list that they come from.

    Attributes:
        noisy: (n,) int64 in [0, num_classes), in the order of the names; the true label if the list has no valid one.
        flipped: share of the n samples with a wrong label.
        out_of_range: names of samples whose listed label is no training class; they keep their true label.
        missing: names without a line; they keep their true label.
        unknown: paths of lines that belong to no training image; such lines are ignored.
        repeated: names with several lines of the same label.
        emptied: classes whose label no sample has any more.
    """

    noisy: np.ndarray
    flipped: float
    out_of_range: list[str]
    missing: list[str]
    unknown: list[str]
    repeated: list[str]
    emptied: list[int]

    def __str__(self) -> str:
        """A line for a log: the share moved, then each kind of flaw that occurs with its count and an example."""
        parts = [f"{self.flipped:.2%} of {len(self.noisy)} training labels moved"]
        for what, cases in (
            ("labels outside the training classes (true label kept)", self.out_of_range),
            ("images in no line (true label kept)", self.missing),
            ("lines of no training image (passed over)", self.unknown),
            ("images in several lines", self.repeated),
            ("emptied classes", self.emptied),
        ):
            if cases:
                parts.append(f"{len(cases)} {what}, such as {cases[0]}")
        return "; ".join(parts)


def import_list(path: Path, names: Sequence[str], labels, num_classes: int, numbering: int | str) -> ImportedList:
    """Read the noisy labels of a training half from a list.

    Args:
        path: the list, "path,label" a line. The label follows the last comma, or without a comma the last blank.
        names: (n,) unique names of the training images, such as their paths inside the archive. A line belongs to an
            image if its path ends with the image's name, or the name with the path, in whole folders.
        labels: (n,) true labels in [0, num_classes).
        numbering: the list's number of the first training class (0 or 1), or "matched" for lists with numbers of their
            own: each list label then means the class with which it shares most samples, the larger overlaps first.

    Raises:
        ValueError: the list cannot be used: a line without an integer label, an image with two labels, no line of a
            training image, a numbering that fits worse than the other one, or more labels than classes with "matched".
    """
    truth = check_labels(labels, num_classes)
    if len(names) != len(truth) or len(set(names)) != len(names):
        raise ValueError(
            f"names: expected {len(truth)} different ones, one a label, found {len(set(names))} among {len(names)}"
        )
    if numbering not in (0, 1, "matched"):
        raise ValueError(f"numbering: expected 0, 1 or 'matched', found {numbering!r}")
    index_of, listed, unknown, repeated = _finder(names), {}, [], []
    for line, (file, label) in _lines(path):
        index = index_of(file)
        if index is None:
            unknown.append(file)
        elif index in listed:
            repeated.append(names[index])
            if listed[index] != label:
                raise ValueError(
                    f"{path}, line {line}: {names[index]} has two labels, {listed[index]} and {label}; keep one"
                )
        else:
            listed[index] = label
    if not listed:
        example = f"{unknown[0]!r} ends with none of the names, such as {names[0]!r}" if unknown else "it is empty"
        raise ValueError(f"{path}: expected lines of training images, found none: {example}")
    rows, labels = np.array(list(listed)), np.array(list(listed.values()), dtype=np.int64)
    classes = _matched(truth[rows], labels, num_classes, path) if numbering == "matched" else labels - numbering
    if numbering != "matched":
        _check_numbering(truth[rows], labels, numbering, path)
    fits = (classes >= 0) & (classes < num_classes)
    noisy = truth.copy()
    noisy[rows[fits]] = classes[fits]
    report = noise_report(truth, noisy, num_classes)
    return ImportedList(
        noisy=noisy,
        flipped=float((noisy != truth).mean()),
        out_of_range=[names[i] for i in rows[~fits]],
        missing=[name for i, name in enumerate(names) if i not in listed],
        unknown=unknown,
        repeated=repeated,
        emptied=report.loc[report["emptied"], "label"].tolist(),
    )


def _lines(path: Path) -> Iterator[tuple[int, tuple[str, int]]]:
    """(line number from 1, (path with slashes, label)) of the lines that are not blank."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8, found {error.reason} at byte {error.start}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        file, _, label = line.strip().rpartition("," if "," in line else " ")
        if file.startswith('"'):  # CSV writers quote a path with a comma
            file = next(csv.reader([file]))[0]
        try:
            yield number, (file.strip().replace("\\", "/"), int(np.int64(label)))
        except (ValueError, OverflowError):
            raise ValueError(
                f"{path}, line {number}: expected 'path,label' with an integer label, found {line!r}"
            ) from None


def _finder(names: Sequence[str]) -> Callable[[str], int | None]:
    """A function path -> index of its image, or None. Path or name must end with the other one, in whole folders.

    A path that several names end with, such as a bare file name, belongs to none of them.
    """
    whole = {name: i for i, name in enumerate(names)}
    endings: dict[str, int | None] = {}
    for i, name in enumerate(names):
        for ending in _endings(name)[1:]:
            endings[ending] = None if ending in endings else i

    def find(path: str) -> int | None:
        path = path.strip("/")
        hits = [whole[ending] for ending in _endings(path) if ending in whole]
        return hits[0] if hits else endings.get(path)

    return find


def _endings(path: str) -> list[str]:
    """a/b/c -> [a/b/c, b/c, c]."""
    parts = path.split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


def _check_numbering(truth: np.ndarray, labels: np.ndarray, numbering: int, path: Path) -> None:
    agree = [float((labels - first == truth).mean()) for first in (0, 1)]
    if agree[1 - numbering] > agree[numbering]:
        raise ValueError(
            f"numbering: with {numbering} for the first class {agree[numbering]:.1%} of the labels in {path} are true, "
            f"with {1 - numbering} {agree[1 - numbering]:.1%}; expected the one that fits (or 'matched')"
        )


def _matched(truth: np.ndarray, labels: np.ndarray, num_classes: int, path: Path) -> np.ndarray:
    """(n,) class of each list label. Labels and classes are paired by falling overlap, each at most once."""
    names, codes = np.unique(labels, return_inverse=True)
    if len(names) > num_classes:
        raise ValueError(f"{path}: expected at most {num_classes} different labels, one a class, found {len(names)}")
    pairs, overlap = np.unique(codes * num_classes + truth, return_counts=True)
    class_of, taken = {}, set()
    for pair in pairs[np.argsort(-overlap, kind="stable")].tolist():
        code, c = divmod(pair, num_classes)
        if code not in class_of and c not in taken:
            class_of[code] = c
            taken.add(c)
    free = iter(sorted(set(range(num_classes)) - taken))  # a label all of whose classes went to other labels
    return np.array([class_of[code] if code in class_of else next(free) for code in range(len(names))])[codes]
