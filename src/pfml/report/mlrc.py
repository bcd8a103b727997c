"""Tables 6 and 7: our own cross validations as means with intervals; mlrc_comparison sets them beside the published."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pfml.report.cross_validations import MEASURES, Result
from pfml.report.ledger import Summary
from pfml.report.mlrc_comparison import TABLES, unlike
from pfml.report.names import dataset_name, method_name, metric_name
from pfml.report.studies import Studies
from pfml.report.table import Column, Entry, Table, seeds, table_of, words
from pfml.settings.run import Run
from pfml.settings.runs import by_repeat


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


@dataclass(frozen=True)
class Block:
    """The cross validations of one study on one dataset with one network: one table of ours. reason: why they are not
    comparable with the published numbers, "" where they are.
    """

    study: str
    dataset: str
    backbone: str
    dim: int
    folds: int
    reason: str
    rows: dict[str, Row]


def blocks(results: Iterable[Result], runs: Iterable[Run]) -> list[Block]:
    """What the configuration asks for, with what is there of it, by study, dataset and network."""
    found = {result.digests: result for result in results}
    places: dict[tuple, list[Run]] = {}
    for run in runs:
        places.setdefault((run.study, run.dataset, run.backbone, run.dim, run.folds, unlike(run)), []).append(run)

    def row(method: str, runs: list[Run]) -> Row:
        repeats = by_repeat([run for run in runs if run.method == method]).values()
        there = [found[key] for key in map(_digests, repeats) if key in found]
        measures = {(kind, name): interval([r.numbers[f"{kind}_{name}"] for r in there]) for kind, name in MEASURES}
        return Row(measures, len(there), len(repeats))

    return [
        Block(*place, {method: row(method, runs) for method in dict.fromkeys(run.method for run in runs)})
        for place, runs in places.items()
    ]


def _digests(folds: Sequence[Run]) -> tuple[str, ...]:
    return tuple(run.digest for run in folds)


def interval(fractions: Sequence[float]) -> Interval:
    """Mean +- t(0.975, n - 1) s / sqrt(n) of n fractions, in percent."""
    from scipy.stats import t

    n = len(fractions)
    if n < 2:
        return Interval(100 * fractions[0]) if n else Interval()
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(fractions) / math.sqrt(n)
    return Interval(100 * statistics.fmean(fractions), 100 * half)


def mlrc_tables(table: int, studies: Studies) -> list[Table | str]:
    """Our part of a table: studies of its own dataset, and of datasets that the paper does not have, of which anything
    was run. Results that no study asks for are named below, in no row.
    """
    runs = [run for study in studies.every for run in study.folds]
    shown = [
        block
        for block in blocks(studies.cross_validations, runs)
        if _mine(block.dataset, table) and any(row.n for row in block.rows.values())
    ]
    asked = set(map(_digests, by_repeat(runs).values()))
    others = [r for r in studies.cross_validations if r.digests not in asked and _mine(r.numbers["dataset"], table)]
    named = ", ".join(f"`{r.numbers['study']}/{r.path.stem}`" for r in others)
    below = [f"Outside the present configuration, in no row: {named}."] if others else []
    names = ", ".join(dict.fromkeys(f"`{run.study}`" for run in runs if run.dataset == TABLES[table]))
    why = names or f"`{studies.running.name}` does not measure this"
    waiting = [] if shown else [f"Ours: not run ({why})."]
    return [*(own_table(table, block, studies) for block in shown), *waiting, *below]


def _mine(dataset: str, table: int) -> bool:
    return dataset == TABLES[table] or dataset not in TABLES.values()


def own_table(table: int, block: Block, studies: Studies) -> Table:
    """Methods down; ours and n across. Empty: no run."""
    methods = list(block.rows)
    columns = [words("Method", list(map(method_name, methods)))]
    for kind, name in MEASURES:
        runs = [block.rows[m].measures[kind, name] for m in methods]
        columns.append(Column(f"{kind} {metric_name(name)}", [Entry(run.mean, run.half, 2) for run in runs], "high"))
    columns.append(Column("n", [seeds(Summary(None, None, row.n, row.expected)) for row in block.rows.values()]))
    note = f" Not comparable with any published number: {block.reason}." if block.reason else ""
    title = (
        f"Study `{block.study}`: {dataset_name(block.dataset)}, {block.backbone}, {block.folds} folds, {block.dim} "
        f"dimensions separated and {block.folds * block.dim} concatenated; percent, mean ± 95 % interval over n "
        f"repeats (Student's t).{note} MLflow experiment `{studies.find(block.study).experiment}`, a run a fold."
    )
    return table_of(f"table-{table}-{block.study}-{block.dataset}-{block.dim}", title, columns)
