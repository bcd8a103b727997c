"""Table 3's one recovered number, the ratio of PFML's W2 to SoftTriple's, beside ours.

Ratios are of the same seed, on clean labels. A point of the verdict's rule is 0.01 of a ratio.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pfml.report.blocks import Block
from pfml.report.ledger import Summary
from pfml.report.names import dataset_name, method_name
from pfml.report.pools import by_seed, measures_of
from pfml.report.published import paper
from pfml.report.rows import run_ids
from pfml.report.studies import Studies
from pfml.report.table import EMPTY, Column, Entry, Table, numbers, plain, seeds, table_of, words
from pfml.report.verdicts import Verdict, answers, judged, verdicts_once, why_not

STATEMENT = paper.statements(3)[0]
OWN, OTHERS = STATEMENT.method, (STATEMENT.other, "cpml")  # CPML's value is lost: the text says that it is higher
POINT = 0.01


@dataclass(frozen=True)
class Row:
    """PFML's W2 / another method's in one study, by seed; block None: no study measures it. counts: M of both."""

    other: str
    block: Block | None = None
    ratios: Mapping[int, float] = ()
    expected: int = 0
    reason: str = ""
    counts: Sequence[int] = ()

    @property
    def ours(self) -> Summary:
        values = list(self.ratios.values()) if self.ratios else []
        mean, std = statistics.fmean(values) if values else None, statistics.stdev(values) if len(values) > 1 else None
        return Summary(mean, std, len(values), self.expected)

    @property
    def verdict(self) -> Verdict:
        """None of CPML's ratio, of which the paper recovers no number. Of other images: a difference and no verdict."""
        if self.other != STATEMENT.other:
            return Verdict("")
        if self.block is None or not self.ratios:
            return Verdict("not run", "in no study" if self.block is None else "")
        found = judged(self.ours.mean, self.ours.std, STATEMENT.value, unit=POINT)
        return Verdict("not comparable", self.reason, found.difference) if self.reason else found


def ratio_rows(studies: Studies, shown: Sequence[Block], blocks: Sequence[Block]) -> list[Row]:
    """Of the blocks that are shown those with a ratio, and all that are of the paper's images and network."""
    rows = []
    for block in blocks:
        for other in OTHERS:
            row = _row(studies, block, other)
            if row and ((block in shown and row.ratios) or not row.reason):
                rows.append(row)
    asked = {row.other for row in rows if not row.reason}
    missing = [Row(other) for other in OTHERS[:1] if other not in asked]
    return missing + sorted(rows, key=lambda row: bool(row.reason))


def _row(studies: Studies, block: Block, other: str) -> Row | None:
    runs, theirs = block.row(OWN, 0.0), block.row(other, 0.0)
    if not runs or not theirs:
        return None
    first, second = by_seed(studies.ledger, runs, "w2"), by_seed(studies.ledger, theirs, "w2")
    ratios = {seed: first[seed] / second[seed] for seed in first if second.get(seed)}
    seeds = {run.seed for run in runs} & {run.seed for run in theirs}
    records = studies.ledger.find_all([*runs, *theirs])
    reason = _reason(runs) or ("W2 of two readings of the measure" if len(measures_of(records)) > 1 else "")
    m = [by_seed(studies.ledger, same, "proxies_per_class") for same in (runs, theirs)]
    counts = [int(next(iter(found.values()))) for found in m if found] if ratios else []
    return Row(other, block, ratios, len(seeds), reason, counts)


def _reason(runs: Sequence) -> str:
    lost = paper.published(3, key=OWN)[0]
    if why := why_not(runs):
        return why
    if answers(runs[0], lost):
        return ""
    return f"Table 3 is of {dataset_name(lost.dataset)} with a {lost.backbone} of {lost.dim} dimensions"


def ratio_table(table: int, studies: Studies, rows: Sequence[Row]) -> Table:
    """Published and ours, difference, verdict, n and runs, a line a study and rival."""
    blocks = [row.block for row in rows]
    published = [STATEMENT.value if row.other == STATEMENT.other else None for row in rows]
    columns = [
        words("Study", [f"`{block.study}`" if block else "" for block in blocks]),
        words("Where", [f"{dataset_name(b.dataset)}, {b.backbone}, {b.dim}-d" if b else "" for b in blocks]),
        words("W2 of", [method_name(OWN) for _ in rows]),
        words("over that of", [method_name(row.other) for row in rows]),
        Column("M", [Entry(text=" and ".join(map(str, row.counts))) for row in rows]),
        Column("published", [Entry(text="below 1") if v is None else Entry(v, digits=3) for v in published]),
        Column("ours", [plain(3, spread=True)(row.ours) for row in rows]),
        numbers("difference", [row.verdict.difference for row in rows], 3),
        words("verdict", [row.verdict.text for row in rows]),
        Column("n", [seeds(row.ours) if row.ratios else EMPTY for row in rows]),
        words("MLflow runs", [_runs(studies, row) for row in rows]),
    ]
    title = (
        f"**{dataset_name(STATEMENT.dataset)}, ratio of W2**: ours beside the published, clean labels; a ratio is of "
        "two runs of one seed. Of CPML's the text says no more than that it is higher, which gets no verdict here."
    )
    return table_of(f"table-{table}-ratio", title, columns)


def _runs(studies: Studies, row: Row) -> str:
    if row.block is None or not row.ratios:
        return ""
    runs = [c for method in (OWN, row.other) for c in row.block.row(method, 0.0) if c.seed in row.ratios]
    return run_ids(studies.ledger, runs)


def ratio_verdicts(studies: Studies, blocks: Sequence[Block]) -> Counter:
    """The verdict on the published ratio, counted once; of other images it stays "not run"."""
    rows = ratio_rows(studies, (), blocks)
    return verdicts_once(("ratio", row.verdict.word) for row in rows if row.other == STATEMENT.other)
