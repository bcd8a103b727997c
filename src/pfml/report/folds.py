"""Tables 6 and 7: our cross validations beside every published number, with a verdict on mean and standard deviation
over repeats; then our own studies as means with intervals.
"""

import statistics
from collections.abc import Sequence

from pfml.evaluation.result_file import FOLD_MEASURES
from pfml.report.claims import half_width
from pfml.report.groups import blocks_of, over_seeds
from pfml.report.names import dataset_name, method_name, metric_name
from pfml.report.published import paper
from pfml.report.published.paper import NETWORKS
from pfml.report.published.printed import published_parts
from pfml.report.results import Studies, configurations
from pfml.report.retrieval import OWN
from pfml.report.table import Column, Entry, Table, by_method, plain, seeds, table_of, words
from pfml.report.verdicts import Row, comparison, rows_for
from pfml.settings.run import Run

TABLES = {6: "cub200", 7: "cars196"}
KINDS = {128: "separated", 512: "concatenated"}  # dimensions of a network and of four side by side
FOLDS = 4


def fold_tables(table: int, studies: Studies) -> list[Table | str]:
    """The published rows, most of them recalled, then ours beside them, then our own studies."""
    return [*published_parts(table), *comparison_tables(table, studies), OWN, *own_tables(table, studies)]


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


def comparison_tables(table: int, studies: Studies) -> list[Table]:
    """R@1 of every row, separated and concatenated; further measures of the rows that have a finished repeat."""
    rows = sorted(fold_rows(table, studies), key=lambda row: row.theirs.dim)
    further = [row for row in rows if row.theirs.metric != "recall@1" and row.ran]
    name, dataset = f"table-{table}-{TABLES[table]}", dataset_name(TABLES[table])
    title = (
        f"**{dataset}, R@1**: ours beside the published; mean ± standard deviation over n repeats. There is no best "
        "epoch on the test classes: they are seen once, when validation has chosen the network."
    )
    first = [row for row in rows if row.theirs.metric == "recall@1"]
    tables = [_comparison(name, title, first, studies)]
    if further:
        title = f"**{dataset}, further measures** of the rows that were run."
        tables.append(_comparison(f"{name}-further", title, further, studies))
    return tables


def _comparison(name: str, title: str, rows: Sequence[Row], studies: Studies) -> Table:
    ours = [plain(2, spread=True, factor=100)(row.ours) for row in rows]
    runs = [" ".join(f"`{studies.find(name).experiment}`" for name in row.studies if row.ran) for row in rows]
    return comparison(name, title, rows, lambda p: f"{KINDS[p.dim]} {p.dim}-d", {"ours": ours}, 2, runs)


def own_tables(table: int, studies: Studies) -> list[Table | str]:
    """Our part of a table: studies of its own dataset, and of datasets that the paper does not have, of which anything
    was run. Results that no study asks for are named below, in no row.
    """
    own, others = TABLES[table], set(TABLES.values()) - {TABLES[table]}
    folds, files = (frame[~frame.dataset.isin(others)] for frame in (studies.folds, studies.fold_files))
    parts: list = [own_table(table, block, studies) for block in blocks_of(folds) if block.measured.any()]
    if not parts:
        names = ", ".join(f"`{name}`" for name in folds.study[folds.dataset == own].unique())
        parts.append(f"Ours: not run ({names or f'`{studies.running.name}` does not measure this'}).")
    outside = files[~files.current.astype(bool)]
    named = ", ".join(f"`{study}/{name}`" for study, name in zip(outside.study, outside.run_name))
    return [*parts, *([f"Outside the present configuration, in no row: {named}."] if named else [])]


def own_table(table: int, block, studies: Studies) -> Table:
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
        f"Study `{first.study}`: {dataset_name(first.dataset)}, {first.backbone}, {run.folds} folds, {first.dim} "
        f"dimensions separated and {run.folds * first.dim} concatenated; percent, mean ± 95 % interval over n "
        f"repeats (Student's t).{note} MLflow experiment `{studies.find(first.study).experiment}`, a run a fold."
    )
    return table_of(f"table-{table}-{first.study}-{first.dataset}-{first.dim}", title, columns)


def _interval(fractions: Sequence[float]) -> Entry:
    """Mean of fractions and half of its interval, in percent."""
    if not fractions:
        return Entry()
    half = half_width(fractions)
    return Entry(100 * statistics.fmean(fractions), None if half is None else 100 * half, 2)
