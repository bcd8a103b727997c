"""Tables 6 and 7: our cross validations beside every published number, with a verdict on mean and standard deviation
over repeats; then our own studies as means with intervals.
"""

import statistics
from collections.abc import Sequence

from pfml.evaluation.result_file import FOLD_MEASURES
from pfml.report.claims import half_width
from pfml.report.groups import blocks_of, over_seeds
from pfml.report.markup import code, literal
from pfml.report.names import dataset_name, method_name, metric_name
from pfml.report.published import paper
from pfml.report.published.paper import NETWORKS
from pfml.report.published.printed import published_parts
from pfml.report.results import Studies, configurations
from pfml.report.table import Column, Entry, Table, by_method, plain, seeds, table_of, words
from pfml.report.verdicts import Row, comparison, rows_for
from pfml.settings.run import Run

TABLES = {6: "cub200", 7: "cars196"}
KINDS = {128: "separated", 512: "concatenated"}  # dimensions of a network and of four side by side
FOLDS = 4


def fold_tables(table: int, studies: Studies) -> list[Table | str]:
    """Ours beside the published, our own studies, and in a file the published rows, most of them recalled."""

    def ours(rows: Sequence[Row]) -> dict:
        return {"ours": [plain(2, spread=True, factor=100)(row.ours) for row in rows]}

    rows = sorted(fold_rows(table, studies), key=lambda row: row.theirs.dim)
    parts = comparison(table, rows, lambda p: f"{KINDS[p.dim]} {p.dim}-d", ours, 2)
    return [*parts, *own_tables(table, studies), *published_parts(table)]


def incomparable(run: Run) -> str:
    """Why a cross validation may not be set beside the published numbers of its dataset; "" where it may."""
    if run.dataset not in TABLES.values():
        return f"{dataset_name(run.dataset)} is no dataset of Tables 6 and 7"
    if NETWORKS.get(run.backbone) != "bninception" or run.model["weights"] != "pretrained":
        return "Tables 6 and 7 are of BN-Inception with published weights"
    if (run.dim, run.folds) != (min(KINDS), FOLDS):
        return f"Tables 6 and 7 are of {FOLDS} networks of {min(KINDS)} dimensions"
    return ""


def fold_rows(table: int, studies: Studies) -> list[Row]:
    """A row for every published number of a table; two where studies answer it with different configurations."""
    folds = studies.folds[studies.folds.dataset == TABLES[table]]
    folds = folds[folds.runs.map(lambda runs: not incomparable(runs[0])).astype(bool)]
    found = configurations(folds, ["method"])
    rows = [rows_for(p, f"{KINDS[p.dim]}_{p.metric}", found.get((p.key,), [])) for p in paper.published(table)]
    return [row for several in rows for row in several]


def own_tables(table: int, studies: Studies) -> list[Table | str]:
    """Our studies of a table's own dataset of which anything was run, and in the first table of datasets that the paper
    does not have. Results that no study asks for are named below, in no row.
    """
    others = {dataset for number, dataset in TABLES.items() if number != table}
    folds, files = (frame[~frame.dataset.isin(others)] for frame in (studies.folds, studies.fold_files))
    if table != min(TABLES):
        folds, files = (frame[frame.dataset == TABLES[table]] for frame in (folds, files))
    outside = files[~files.current.astype(bool)]
    named = ", ".join(code(f"{study}/{name}") for study, name in zip(outside.study, outside.run_name))
    tables = [own_table(table, block) for block in blocks_of(folds) if block.measured.any()]
    return [*tables, *([f"Outside the present configuration, in no row: {named}."] if named else [])]


def own_table(table: int, block) -> Table:
    """Methods down; ours and n across, each with Student's interval. Empty: no run."""
    first, run = block.iloc[0], block.runs.iloc[0][0]
    counts = over_seeds(block, "method", "_".join(FOLD_MEASURES[0]))
    columns = [words("Method", list(map(method_name, counts)))]
    for kind, name in FOLD_MEASURES:
        values = block.groupby("method", sort=False)[f"{kind}_{name}"].agg(lambda found: list(found.dropna()))
        entries = [_interval(found) for found in values]
        columns.append(Column(f"{kind} {metric_name(name)}", entries, "high"))
    columns.append(by_method("n", counts, counts, seeds))
    reason = incomparable(run)
    note = f" Not comparable with any published number: {reason}." if reason else ""
    title = (
        f"**Study `{first.study}`**: {dataset_name(first.dataset)}, {literal(first.backbone)}, {run.folds} folds, "
        f"{first.dim} dimensions separated and {run.folds * first.dim} concatenated; percent, mean ± 95 % interval "
        f"over n repeats (Student's t).{note}"
    )
    return table_of(f"table-{table}-{first.study}-{first.dataset}-{first.dim}", title, columns)


def _interval(fractions: Sequence[float]) -> Entry:
    """Mean of fractions and half of its interval, in percent."""
    if not fractions:
        return Entry()
    half = half_width(fractions)
    return Entry(100 * statistics.fmean(fractions), None if half is None else 100 * half, 2)
