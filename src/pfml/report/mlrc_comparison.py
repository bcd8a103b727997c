"""Tables 6 and 7: our cross validations beside every published number, in the paper's own order, with a verdict.

The verdict is on mean and standard deviation over repeats; intervals stand in the tables of our own (docs/reports.md).
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pfml.report.comparison import counted
from pfml.report.ledger import Summary
from pfml.report.names import dataset_name, metric_name
from pfml.report.pools import condition
from pfml.report.published import paper
from pfml.report.published.paper import Published
from pfml.report.published.printed import printed
from pfml.report.studies import Studies
from pfml.report.table import Column, Entry, Table, numbers, percent, seeds, table_of, words
from pfml.report.verdicts import NETWORKS, Verdict, verdict, verdicts_once
from pfml.settings.run import Run
from pfml.settings.runs import by_repeat

TABLES = {6: "cub200", 7: "cars196"}
KINDS = {128: "separated", 512: "concatenated"}  # dimensions of a network and of four side by side
FOLDS = 4


@dataclass(frozen=True)
class Row:
    """A published number and what answers it: studies, mean and std over repeats, MLflow experiments with a run."""

    theirs: Published
    studies: tuple[str, ...] = ()
    ours: Summary | None = None
    experiments: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return KINDS[self.theirs.dim]

    @property
    def ran(self) -> bool:
        return bool(self.ours and self.ours.n)

    @property
    def verdict(self) -> Verdict:
        return verdict(self.theirs, self.ours)


def unlike(run: Run) -> str:
    """Why a cross validation may not be set beside the published numbers of its dataset; "" where it may."""
    if run.dataset not in TABLES.values():
        return f"{dataset_name(run.dataset)} is no dataset of Tables 6 and 7"
    if NETWORKS.get(run.backbone) != "bninception" or run.model["weights"] != "pretrained":
        return "Tables 6 and 7 are of BN-Inception with published weights"
    if (run.dim, run.folds) != (min(KINDS), FOLDS):
        return f"Tables 6 and 7 are of {FOLDS} networks of {min(KINDS)} dimensions"
    return ""


def rows_of(table: int, studies: Studies) -> list[Row]:
    """A row for every published number of a table; two where studies answer it with different configurations."""
    runs: dict[str, list[Run]] = {}
    for study in studies.every:
        for run in study.folds:
            if run.dataset == TABLES[table] and not unlike(run):
                runs.setdefault(run.method, []).append(run)
    found = {result.digests: result.numbers for result in studies.cross_validations}
    rows = []
    for p in paper.published(table):
        groups: dict[str, list[Run]] = {}
        for run in runs.get(p.key, []):
            groups.setdefault(condition(run, ("fold",)), []).append(run)
        rows += [_row(p, group, found, studies) for group in groups.values()] or [Row(p)]
    return rows


def _row(p: Published, runs: Sequence[Run], found: dict, studies: Studies) -> Row:
    repeats = {tuple(run.digest for run in folds) for folds in by_repeat(runs).values()}
    values = [found[key][f"{KINDS[p.dim]}_{p.metric}"] for key in sorted(repeats & set(found))]
    mean, std = statistics.fmean(values) if values else None, statistics.stdev(values) if len(values) > 1 else None
    names = tuple(dict.fromkeys(run.study for run in runs))
    places = tuple(studies.find(name).experiment for name in names) if values else ()
    return Row(p, names, Summary(mean, std, len(values), len(repeats)), places)


def comparison_tables(table: int, studies: Studies) -> list[Table]:
    """R@1 of every row, separated and concatenated; further measures of the rows that have a finished repeat."""
    rows = rows_of(table, studies)
    first = [row for row in rows if row.theirs.metric == "recall@1"]
    further = [row for row in rows if row.theirs.metric != "recall@1" and row.ran]
    name, dataset = f"table-{table}-{TABLES[table]}", dataset_name(TABLES[table])
    title = (
        f"**{dataset}, R@1**: ours beside the published; mean ± standard deviation over n repeats. There is no best "
        "epoch on the test classes: they are seen once, when validation has chosen the network."
    )
    tables = [_table(name, title, sorted(first, key=lambda row: row.theirs.dim), False)]
    if further:
        title = f"**{dataset}, further measures** of the rows that were run."
        tables.append(_table(f"{name}-further", title, sorted(further, key=lambda row: row.theirs.dim), True))
    return tables


def _table(name: str, title: str, rows: Sequence[Row], measure: bool) -> Table:
    ours = [percent(row.ours) for row in rows]
    columns = [
        words("Network", [f"{row.kind} {row.theirs.dim}-d" for row in rows]),
        words("Method", [row.theirs.method for row in rows]),
        words("Study", [" ".join(f"`{study}`" for study in row.studies) for row in rows]),
        *([words("measure", [metric_name(row.theirs.metric) for row in rows])] if measure else []),
        Column("published", [printed(row.theirs) for row in rows]),
        Column("ours", [Entry(entry.value, entry.std, 2) for entry in ours]),
        numbers("difference", [row.verdict.difference for row in rows], 2),
        words("verdict", [row.verdict.text for row in rows]),
        Column("n", [seeds(row.ours) for row in rows]),
        words("MLflow runs", [" ".join(f"`{place}`" for place in row.experiments) for row in rows]),
    ]
    return table_of(name, title, columns, [counted(Counter(row.verdict.word for row in rows))])


def mlrc_verdicts(table: int, studies: Studies) -> Counter:
    """Verdicts of a table's published numbers, each counted once."""
    return verdicts_once((row.theirs, row.verdict.word) for row in rows_of(table, studies))
