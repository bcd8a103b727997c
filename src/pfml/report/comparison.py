"""Ours beside every published number, in the paper's own order, with a verdict: what Tables 1, 2, 4 and 5 come to."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pfml.report.ledger import Ledger, Summary, summarise
from pfml.report.names import dataset_name, metric_name
from pfml.report.pools import condition, same_condition
from pfml.report.published import paper
from pfml.report.published.paper import Published
from pfml.report.published.printed import network_name, printed
from pfml.report.rows import run_ids
from pfml.report.studies import Studies
from pfml.report.table import Column, Table, numbers, percent, seeds, table_of, words
from pfml.report.verdicts import WORDS, Verdict, answers, verdict, verdicts_once


@dataclass(frozen=True)
class Row:
    """A published row and the cells of ours that answer it, none where no study asks for it."""

    theirs: Published
    studies: Sequence[str]
    runs: Sequence
    ledger: Ledger

    def summary(self, key: str) -> Summary | None:
        return summarise(self.ledger, self.runs, key) if self.runs else None

    @property
    def verdict(self) -> Verdict:
        return verdict(self.theirs, self.summary(self.theirs.metric))


def rows_of(theirs: Iterable[Published], studies: Studies) -> list[Row]:
    """A row for every published number; two where studies answer it with different configurations."""
    rows = []
    for p in theirs:
        runs = [run for run in studies.runs_of(p.dataset, p.key) if answers(run, p)]
        groups = same_condition(runs) or [[]]
        for group in groups:
            names = dict.fromkeys(run.study for run in runs if condition(run) == condition(group[0]))
            rows.append(Row(p, tuple(names), group, studies.ledger))
    return rows


def comparison_parts(table: int, studies: Studies) -> list[Table | str]:
    """R@1 of each dataset; further measures of a dataset, and of the rows, that have a finished run."""
    parts: list[Table | str] = []
    for dataset in dict.fromkeys(p.dataset for p in paper.published(table)):
        theirs = paper.published(table, dataset=dataset)
        parts.append(_first_measure(table, dataset, rows_of([p for p in theirs if p.metric == "recall@1"], studies)))
        further = [row for row in rows_of([p for p in theirs if p.metric != "recall@1"], studies) if _ran(row)]
        if further:
            parts.append(_further_measures(table, dataset, further))
    return parts


def _ran(row: Row) -> bool:
    return bool(row.ledger.find_all(row.runs))


def _first_measure(table: int, dataset: str, rows: Sequence[Row]) -> Table:
    last = [row.summary("recall@1") for row in rows]
    columns = [
        *_who(rows),
        Column("published", [printed(row.theirs) for row in rows]),
        Column("last epoch", [percent(s) for s in last]),
        Column("best epoch", [percent(row.summary("best_recall@1")) for row in rows]),
        numbers("difference", [row.verdict.difference for row in rows]),
        words("verdict", [row.verdict.text for row in rows]),
        Column("n", [seeds(s) for s in last]),
        words("MLflow runs", [run_ids(row.ledger, row.runs) for row in rows]),
    ]
    title = f"**{dataset_name(dataset)}, R@1**: ours beside the published."
    return table_of(f"table-{table}-{dataset}", title, columns, [counted(Counter(r.verdict.word for r in rows))])


def _further_measures(table: int, dataset: str, rows: Sequence[Row]) -> Table:
    columns = [
        *_who(rows),
        words("measure", [metric_name(row.theirs.metric) for row in rows]),
        Column("published", [printed(row.theirs) for row in rows]),
        Column("last epoch", [percent(row.summary(row.theirs.metric)) for row in rows]),
        numbers("difference", [row.verdict.difference for row in rows]),
        words("verdict", [row.verdict.text for row in rows]),
    ]
    title = f"**{dataset_name(dataset)}, further measures** of the rows that were run."
    return table_of(f"table-{table}-{dataset}-further", title, columns)


def _who(rows: Sequence[Row]) -> list[Column]:
    studies = [" ".join(f"`{name}`" for name in row.studies) for row in rows]
    return [words("Network", [network_name(row.theirs) for row in rows]),
            words("Method", [row.theirs.method for row in rows]), words("Study", studies)]  # fmt: skip


def counted(counts: Counter) -> str:
    """`reproduced 2 of 12, not run 10.`"""
    total = sum(counts[word] for word in WORDS)
    parts = [f"{word} {counts[word]}" + f" of {total}" * (i == 0) for i, word in enumerate(WORDS)]
    return f"{', '.join([parts[0], *(p for p, word in zip(parts[1:], WORDS[1:]) if counts[word])])}."


def verdict_counts(theirs: Iterable[Published], studies: Studies) -> Counter:
    """Verdicts of published numbers, each counted once: by the first study that has a run for it."""
    return verdicts_once((row.theirs, row.verdict.word) for row in rows_of(theirs, studies))
