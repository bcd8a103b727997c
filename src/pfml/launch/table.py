"""The results of one study as one Markdown table: for the end of `make repro`, and for reports/<study>.md.

The report (pfml.report) has the paper's tables with all studies; this one reads its own study's result files alone.
"""

from collections.abc import Iterable

from pfml.evaluation.result_file import FoldsResult, RunResult, read_result
from pfml.report.files import entry_text
from pfml.report.groups import summary_of
from pfml.report.names import dataset_name, method_name, share
from pfml.report.table import Column, Entry, Table, percent, seeds, table_of, words
from pfml.settings.run import Run
from pfml.settings.runs import ablation_runs, by_repeat, fold_runs, grid_runs
from pfml.settings.schema import Params

Row = tuple[str, str, str]  # dataset, method and ablation point, noise


def study_table(params: Params) -> str:
    """A row for every method and noise and for every ablation point of the study that `params` describes, mean ± std
    over its seeds; "" where nothing has been measured. Run where its results are.

    Raises:
        ValueError: a result file that cannot be used; names it and its key.
    """
    rows: dict[Row, list[dict]] = {}
    for run in [*grid_runs(params), *ablation_runs(params)]:
        rows.setdefault(_row(run), []).append(result_of(run))
    for folds in by_repeat(fold_runs(params)).values():
        rows.setdefault(_row(folds[0]), []).append(result_of_folds(folds))
    if not any(result for results in rows.values() for result in results):
        return ""
    return aligned(_table(rows))


def _row(run: Run) -> Row:
    name = method_name(run.method)
    if run.fold is not None:
        return run.dataset, f"{name}, mean of {run.folds} folds", share(0)
    kind = run.noise_kind.get("kind", "uniform") if run.noise else "uniform"
    noise = share(run.noise) + (f" {kind}" if kind != "uniform" else "")
    return run.dataset, f"{name}, {run.axis} {run.value:g}" if run.axis else name, noise


def result_of(run: Run) -> dict:
    """The result of a run; {} where there is none of its configuration."""
    path = run.paths().result
    result = read_result(path, RunResult) if path.exists() else {}
    return result if result.get("digest") == run.digest else {}


def result_of_folds(folds: list[Run]) -> dict:
    """Measures of a cross validation; {} where there is none of these folds."""
    path = folds[0].paths().result
    result = read_result(path, FoldsResult) if path.exists() else {}
    same = all(result.get(f"fold{k}_digest") == run.digest for k, run in enumerate(folds))
    return {name: result[f"separated_{name}"] for name in ("recall@1", "map@r")} if result and same else {}


def _table(rows: dict[Row, list[dict]]) -> Table:
    datasets, methods, noises = zip(*rows)
    several = len(set(datasets)) > 1
    columns = [words("Dataset", list(map(dataset_name, datasets)))] if several else []
    columns += [words("Method", methods), words("Wrong labels", noises)]
    recall, precision = (
        [summary_of(result.get(key) for result in results) for results in rows.values()]
        for key in ("recall@1", "map@r")
    )
    epochs = [_epochs(result.get("selected_epoch") for result in results) for results in rows.values()]
    columns += [
        Column("R@1, %", list(map(percent, recall))), Column("MAP@R, %", list(map(percent, precision))),
        Column("Selected epoch", epochs), Column("Seeds", list(map(seeds, recall))),
    ]  # fmt: skip
    return table_of("study", "", columns)


def _epochs(values: Iterable[int | None]) -> Entry:
    """The selected epoch, or the range of several seeds."""
    there = sorted({value for value in values if value is not None})
    return Entry(text="–".join(map(str, dict.fromkeys((there[0], there[-1])))) if there else "")


def aligned(table: Table) -> str:
    """Markdown whose columns are as wide as their longest entry, so that it is a table on a terminal too."""
    lines = [table.header, *(tuple(map(entry_text, row)) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    left = table.words
    padded = [[c.ljust(w) if x else c.rjust(w) for c, w, x in zip(line, widths, left)] for line in lines]
    rule = [":" + "-" * (w - 1) if x else "-" * (w - 1) + ":" for w, x in zip(widths, left)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])
