"""Tables 6 and 7: cross validations on disk, matched to the configuration that asks for them, as means with intervals.

A result belongs to a cross validation if the digests of all its folds are those that the configuration gives them;
its file's name says nothing.
"""

import csv
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pfml import paper
from pfml.cell import Cell
from pfml.config import by_repeat, mlrc_cells, params_from
from pfml.overlay import merge
from pfml.presets import preset_names, read_preset
from pfml.report.style import MISSING, bold_best, dataset_name, markdown_table, method_name, metric_name, number
from pfml.schema import Params

TABLES = {6: "cub200", 7: "cars196"}
MEASURES = [(kind, name) for kind in ("separated", "concatenated") for name in ("recall@1", "r_precision", "map@r")]


@dataclass(frozen=True)
class Result:
    """One cross validation: the digests of its folds' configurations in order, and what was measured."""

    digests: tuple[str, ...]
    numbers: dict = field(hash=False)
    path: Path

    def fold(self, k: int) -> dict:
        """What is known of fold k alone: digest, its own measures, epochs, seconds, commit, MLflow run."""
        start = f"fold{k}_"
        return {key.removeprefix(start): value for key, value in self.numbers.items() if key.startswith(start)}


@dataclass(frozen=True)
class Interval:
    """Mean of values and half the width of its 95 % interval (Student's t; None below two values), in percent."""

    mean: float | None = None
    half: float | None = None


@dataclass(frozen=True)
class Row:
    """A method: its measures (kind, name) -> Interval over the n finished of `expected` repeats."""

    measures: dict[tuple[str, str], Interval]
    n: int
    expected: int

    @property
    def count(self) -> str:
        return MISSING if not self.expected else str(self.n) + f" of {self.expected}" * (self.n < self.expected)


@dataclass(frozen=True)
class Block:
    """The cross validations of one study on one dataset with one network: one table of ours."""

    study: str
    dataset: str
    backbone: str
    dim: int
    folds: int
    rows: dict[str, Row]

    def comparable(self, table: int) -> bool:
        return self.dataset == TABLES[table]


def read_results(runs: str | Path = "reports/runs") -> list[Result]:
    """One result per JSON file in <runs>/<study>/mlrc/, in a stable order.

    Raises:
        ValueError: not JSON, a missing key, a wrong type or a measure outside [0, 1]; names file and key.
    """
    return [_result(path) for path in sorted(Path(runs).glob("*/mlrc/*.json"))]


def _result(path: Path) -> Result:
    def need(right: bool, key: str, expected: str, found) -> None:
        if not right:
            raise ValueError(f"{path}: {key}: expected {expected}, found {found!r}; remove it and evaluate it again")

    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable JSON file ({error}); remove it and evaluate it again") from None
    need(isinstance(raw, dict), "file", "one flat JSON object", raw)
    folds = raw.get("folds")
    need(isinstance(folds, int) and folds > 1, "folds", "their number", folds)
    digests = [f"fold{k}_digest" for k in range(folds)]
    for key in ("study", "dataset", "method", "dataset_digest", *digests):
        need(isinstance(raw.get(key), str), key, "text", raw.get(key))
    for key in [f"{kind}_{name}" for kind, name in MEASURES]:
        value = raw.get(key)
        right = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
        need(right, key, "a fraction in [0, 1]", value)
    return Result(tuple(raw[key] for key in digests), raw, path)


def asked_for(params: Params) -> list[Cell]:
    """The folds that the configuration asks for: of the study that params.yaml describes, then of every preset called
    mlrc-... as it stands now.

    Raises:
        ConfigError: a preset that cannot be used; names its file and key.
    """
    cells, base = mlrc_cells(params), params.model_dump(exclude_unset=True)
    for name in (name for name in preset_names() if name.startswith("mlrc-")):
        path = f"presets/{name}.yaml"
        preset = params_from(merge(base, read_preset(name)), path)
        if preset.study != params.study:
            cells += mlrc_cells(preset, path)
    return cells


def blocks(results: Iterable[Result], cells: Iterable[Cell]) -> list[Block]:
    """What the configuration asks for, with what is there of it, by study, dataset and network."""
    found = {result.digests: result for result in results}
    places: dict[tuple, list[Cell]] = {}
    for cell in cells:
        places.setdefault((cell.study, cell.dataset, cell.backbone, cell.dim, cell.folds), []).append(cell)

    def row(method: str, cells: list[Cell]) -> Row:
        repeats = by_repeat([cell for cell in cells if cell.method == method]).values()
        there = [found[key] for key in map(_digests, repeats) if key in found]
        measures = {(kind, name): interval([r.numbers[f"{kind}_{name}"] for r in there]) for kind, name in MEASURES}
        return Row(measures, len(there), len(repeats))

    return [
        Block(*place, {method: row(method, cells) for method in dict.fromkeys(cell.method for cell in cells)})
        for place, cells in places.items()
    ]


def _digests(folds: Sequence[Cell]) -> tuple[str, ...]:
    return tuple(cell.digest for cell in folds)


def interval(fractions: Sequence[float]) -> Interval:
    """Mean +- t(0.975, n - 1) s / sqrt(n) of n fractions, in percent."""
    from scipy.stats import t

    n = len(fractions)
    if n < 2:
        return Interval(100 * fractions[0]) if n else Interval()
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(fractions) / math.sqrt(n)
    return Interval(100 * statistics.fmean(fractions), 100 * half)


def header_and_rows(table: int, block: Block) -> tuple[list[str], list[list[str]]]:
    """Methods down; ours, n and, on the table's own dataset, the published numbers across. A dash: no run, or lost."""
    theirs = _published(table) if block.comparable(table) else {}
    methods = list(dict.fromkeys([*block.rows, *theirs]))
    header, columns = ["Method"], [list(map(method_name, methods))]
    for kind, name in MEASURES:
        cells = [block.rows[m].measures[kind, name] if m in block.rows else Interval() for m in methods]
        texts = [number(cell.mean, cell.half, 2) for cell in cells]
        header.append(f"{kind} {metric_name(name)}")
        columns.append(bold_best(texts, [cell.mean for cell in cells]))
    rows = [block.rows.get(m, Row({}, 0, 0)) for m in methods]
    header.append("n")
    columns.append([row.count for row in rows])
    for kind, name in MEASURES if theirs else []:
        header.append(f"published {kind} {metric_name(name)}")
        columns.append([number(theirs.get(m, {}).get((kind, name)), digits=2) for m in methods])
    return header, [list(row) for row in zip(*columns, strict=True)]


def _published(table: int) -> dict[str, dict[tuple[str, str], float]]:
    """Our method -> (kind, measure) -> percent, of the rows that have a method here."""
    rows: dict = {}
    for p in paper.published(table):
        if p.key:
            row = rows.setdefault(p.key, {})
            row["separated" if p.dim == 128 else "concatenated", p.metric] = p.value
    return rows


def lines(table: int, results: Sequence[Result], cells: Sequence[Cell]) -> list[str]:
    """Our part of a table in Markdown, a paragraph an entry: studies of its own dataset, and of datasets that the paper
    does not have, of which anything was run. Results that no configuration asks for are named below, in no row.
    """
    parts = []

    def mine(dataset: str) -> bool:
        return dataset == TABLES[table] or dataset not in TABLES.values()

    for block in blocks(results, cells):
        if not mine(block.dataset) or not any(row.n for row in block.rows.values()):
            continue
        note = "" if block.comparable(table) else " Other images than the table's: NOT comparable with the published."
        parts.append(
            f"Study `{block.study}`: {dataset_name(block.dataset)}, {block.backbone}, {block.folds} folds, {block.dim} "
            f"dimensions separated and {block.folds * block.dim} concatenated; percent, mean ± 95 % interval over n "
            f"repeats (Student's t).{note}"
        )
        parts.append(markdown_table(*header_and_rows(table, block)))
    asked = set(map(_digests, by_repeat(cells).values()))
    others = [r for r in results if r.digests not in asked and mine(r.numbers["dataset"])]
    if others:
        named = ", ".join(f"`{r.numbers['study']}/{r.path.stem}`" for r in others)
        parts.append(f"Outside the present configuration, in no row: {named}.")
    return parts


def fold_results(results: Iterable[Result], cells: Sequence[Cell]) -> list[tuple[Cell, dict, list[dict]]]:
    """(cell, its measures and origin, its history) of every fold on disk that a study's `cells` ask for: what
    `pfml.register` keeps in MLflow. Each fold's run has the measures of the joined networks too.
    """
    found, rows = {result.digests: result for result in results}, []
    for folds in by_repeat(cells).values():
        result = found.get(_digests(folds))
        if result is None:
            continue
        names = [f"{kind}_{name}" for kind, name in MEASURES if kind == "concatenated"] + ["dataset_digest"]
        shared = {name: result.numbers[name] for name in names}
        history = _histories(result.path.with_suffix(".csv"))
        for k, cell in enumerate(folds):
            own = [{key: row[key] for key in row if key != "fold"} for row in history if row["fold"] == k]
            rows.append((cell, result.fold(k) | shared, own))
    return rows


def _histories(path: Path) -> list[dict[str, float | None]]:
    """Raises ValueError for a cell that is not a number; names the file."""
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [{key: float(text) if text else None for key, text in row.items()} for row in csv.DictReader(file)]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: expected numbers ({error}); remove it and evaluate it again") from None
