"""From a cell of the tables, such as `81.1 ± 0.6`, to the rows that have it."""

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pfml.launch.where import Record
from pfml.report.names import metric_name, number

CELL = re.compile(r"\**(?P<mean>-?\d+\.(?P<digits>\d+))(?: ?(?:±|\+-|\+/-) ?(?P<std>\d+\.\d+))?\**")

MEASURES = ("recall@", "best_recall@", "map@r", "r_precision", "nmi", "seen_", "few_shot_", "w2")  # how they begin


@dataclass(frozen=True)
class Cell:
    """A measure of a row of a study, and its runs, one a seed."""

    measure: str
    text: str
    records: Sequence[Record]


def is_cell(text: str) -> bool:
    return CELL.fullmatch(text.strip()) is not None


def cells(text: str, records: Iterable[Record]) -> list[Cell]:
    """The rows in which a measure's mean and standard deviation over seeds are written like this: of percent with the
    digits that the text has, of W2 likewise. A mean alone finds rows of any deviation. Cross validations have other
    cells (an interval) and are not found.
    """
    wanted = CELL.fullmatch(text.strip())
    rows: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.run and record.result and record.run.fold is None:
            rows.setdefault((record.study, record.row), []).append(record)
    found = []
    for group in rows.values():
        for measure in group[0].result:
            values = [record.result.get(measure) for record in group]
            if measure.startswith(MEASURES) and all(isinstance(value, float) for value in values):
                shown, mean = _written(measure, values, len(wanted["digits"]))
                if wanted["mean"] == mean and (wanted["std"] is None or shown == f"{mean} ± {wanted['std']}"):
                    found.append(Cell(measure, shown, group))
    return found


def describe_cell(cell: Cell) -> str:
    """`R@1 81.1 ± 0.6 of glyphs-all, glyphs/conv3/64/proxy_anchor/0.0: digest, digest`."""
    first = cell.records[0]
    names = ", ".join(f"{record.name} ({record.digest})" for record in cell.records)
    return f"{metric_name(cell.measure)} {cell.text} of {first.study}, {first.row}: {names}"


def _written(measure: str, values: Sequence[float], digits: int) -> tuple[str, str]:
    """As the tables write it: mean and deviation, and the mean alone."""
    scale = 1 if measure.startswith("w2") else 100
    mean = scale * statistics.fmean(values)
    std = scale * statistics.stdev(values) if len(values) > 1 else None
    return number(mean, std, digits), number(mean, None, digits)
