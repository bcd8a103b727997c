"""Table 3: how far proxies are from the data that they stand for, and the one published number that is recovered: the
ratio of PFML's W2 to SoftTriple's. Ratios are of the same seed, on clean labels.
"""

from collections.abc import Iterable, Sequence

import pandas as pd

from pfml.report import readings
from pfml.report.groups import blocks_of, by_seed, kinds_of, over_seeds, summary_of, w2_readings
from pfml.report.inputs import USUAL
from pfml.report.markup import literal
from pfml.report.names import dataset_name, method_name, metric_name, share
from pfml.report.published import paper
from pfml.report.published.printed import LOST, printed
from pfml.report.results import ANSWER, Studies
from pfml.report.retrieval import block_table, clean_and_noisy, own_blocks, table_number
from pfml.report.table import Column, Entry, Table, by_method, plain, seeds_of, table_of, words
from pfml.report.verdicts import NOT_RUN, Row, Verdict, incomparable, judged, place, study_column, verdict_columns

MEASURES = ("w2", "w2_relative")
STATEMENT = paper.statements(3)[0]
OWN_METHOD, OTHERS = STATEMENT.method, (STATEMENT.other, "cpml")  # CPML's value is lost: it is higher, says the text
POINT = 0.01  # of a ratio, in the verdict's rule


def proxy_table(table: int, studies: Studies) -> list[Table | str]:
    blocks = w2_blocks(studies)
    shown, notes = own_blocks(blocks, studies, clean_and_noisy)
    tables = [distance_table(table, block, listed) for block, listed in shown if block.w2.notna().any()]
    compared = ratio_table(table, ratio_rows(blocks, [block.study.iloc[0] for block, _ in shown]))
    lost = f"Published values: {LOST}. {readings.published_w2()}"
    return [lost, compared, *tables, *notes]


def w2_blocks(studies: Studies) -> list[pd.DataFrame]:
    return [block for block in blocks_of(studies.grid) if table_number(block) < 6]


def distance_table(table: int, block: pd.DataFrame, listed: bool) -> Table:
    """W2 absolute and relative, clean and noisy, for the methods that have proxies and those of the paper."""
    theirs = {p.key: printed(p) for p in paper.published(table)}
    at = dict(iter(clean_and_noisy(block).groupby("noise")))
    rows = {(noise, key): over_seeds(at[noise], "method", key) for noise in at for key in MEASURES}
    having = {m for row in rows.values() for m in readings.means(row)}
    methods = [m for m in dict.fromkeys([*block.method, *theirs]) if m in having or m in theirs]
    proxies = over_seeds(at[min(at)], "method", "proxies_per_class")
    columns = [words("Method", list(map(method_name, methods))), by_method("M", proxies, methods, plain(0))]
    for (noise, key), row in rows.items():
        columns.append(by_method(f"{metric_name(key)} at {share(noise)}", row, methods, plain(3, spread=True), "low"))
    columns.append(Column("n", [seeds_of(rows[noise, "w2"].get(m) for noise in at) for m in methods]))
    columns.append(Column("published, CUB-200", [theirs.get(m, printed(None)) for m in methods]))
    said = [readings.w2_order(row, f"{metric_name(key)} at {share(n)} noise") for (n, key), row in rows.items()]
    measures = w2_readings(block)
    other = f"; measure: {' and '.join(map(literal, measures))}" if measures != [USUAL] else ""
    what = f"columns by label noise; smaller is better{other}"
    return block_table(table, block, what, columns, said, listed)


def ratio_rows(blocks: Iterable[pd.DataFrame], shown: Sequence[str] = ()) -> list[Row]:
    """Of the studies that are shown those with a ratio, and all that are of the paper's images and network."""
    rows = [row for block in blocks for other in OTHERS if (row := _row(block[block.noise == 0], other))]
    rows = [row for row in rows if not row.elsewhere or (row.studies[0] in shown and row.ran)]
    if STATEMENT.other not in {row.theirs for row in rows if not row.elsewhere}:
        rows.append(Row(STATEMENT.other, Verdict(NOT_RUN, "in no study")))
    return sorted(rows, key=lambda row: (bool(row.elsewhere), bool(row.studies)))


def _row(clean: pd.DataFrame, other: str) -> Row | None:
    """PFML's W2 / another method's in one study, None where the study does not have both."""
    first, second = (clean[clean.method == method] for method in (OWN_METHOD, other))
    if first.empty or second.empty:
        return None
    ours, theirs = by_seed(first, "w2"), by_seed(second, "w2")
    ratios = {seed: ours[seed] / theirs[seed] for seed in ours if theirs.get(seed)}
    both = pd.concat([first, second])
    used = both[both.seed.isin(ratios)]
    kinds = [kinds_of(used)] * len(ratios)
    summary = summary_of(ratios.values(), kinds, len(set(first.seed) & set(second.seed)))
    reason = _reason(first) or ("W2 of two readings of the measure" if len(w2_readings(both)) > 1 else "")
    said = Verdict("")  # of CPML's ratio the paper recovers no number
    if other == STATEMENT.other:
        said = judged(summary.mean, summary.std, STATEMENT.value, unit=POINT) if ratios else Verdict(NOT_RUN)
        said = Verdict("not comparable", reason, said.difference) if reason and ratios else said
    return Row(other, said, (clean.study.iloc[0],), summary, used if ratios else both, reason)


def _reason(runs: pd.DataFrame) -> str:
    lost = paper.published(3, key=OWN_METHOD)[0]
    if (why := incomparable(runs.run)) or tuple(runs.iloc[0][ANSWER]) == place(lost):
        return why
    return f"Table 3 is of {dataset_name(lost.dataset)} with a {lost.backbone} of {lost.dim} dimensions"


def ratio_table(table: int, rows: Sequence[Row]) -> Table:
    """Published and ours, difference, verdict, n and runs, a line a study and rival."""
    below = Entry(text="below 1")
    columns = [
        study_column(rows),
        words("Where", ["" if row.runs is None else _where(row.runs.iloc[0]) for row in rows]),
        words("W2 of", [method_name(OWN_METHOD) for _ in rows]),
        words("over that of", [method_name(row.theirs) for row in rows]),
        Column("M", [Entry(text=_counts(row.runs) if row.ran else "") for row in rows]),
        Column("published", [Entry(STATEMENT.value, digits=3) if r.theirs == STATEMENT.other else below for r in rows]),
        Column("ours", [plain(3, spread=True)(row.ours) for row in rows]),
        *verdict_columns(rows, 3),
    ]
    title = (
        f"**{dataset_name(STATEMENT.dataset)}, ratio of W2**: ours beside the published, clean labels; a ratio is of "
        "two runs of one seed. Of CPML's the text says no more than that it is higher, which gets no verdict here."
    )
    return table_of(f"table-{table}-ratio", title, columns)


def _where(run) -> str:
    return f"{dataset_name(run.dataset)}, {literal(run.backbone)}, {run.dim}-d"


def _counts(runs: pd.DataFrame) -> str:
    """M of both methods."""
    return " and ".join(f"{count:g}" for count in runs.groupby("method", sort=False).proxies_per_class.first().dropna())
