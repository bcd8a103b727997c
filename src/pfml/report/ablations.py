"""Figure 3 as tables: R@1 of PFML along one setting, ours beside the published curves.

A sweep is the rows of one study along one axis, those with the default value first (`groups.sweeps_of`).
"""

from collections.abc import Sequence

import pandas as pd

from pfml.report import readings
from pfml.report.groups import most_runs, points_of, sweeps_of, without_repeats
from pfml.report.names import dataset_name, share
from pfml.report.published import paper
from pfml.report.published.paper import AXIS_NAMES, Published
from pfml.report.published.printed import footnotes, printed
from pfml.report.results import ANSWER, Studies, Summary
from pfml.report.table import Column, Section, Table, percent, seeds, table_of, words
from pfml.report.verdicts import Row, Verdict, incomparable, place, verdict, verdict_columns

DATASETS = ("cub200", "cars196")


def ablation_section(studies: Studies) -> Section:
    """Each axis of each study that has finished points; tables.md lists the study with the most."""
    parts: list[Table | str] = []
    names, none = set(), []
    for axis, name in AXIS_NAMES.items():
        shown = shown_sweeps(studies, axis)
        first = most_runs(shown)
        parts += [sweep_table(sweep, i in first) for i, sweep in enumerate(shown)] or [published_curve(axis)]
        names, none = names | {sweep.study.iloc[0] for sweep in shown}, none + [name] * (not shown)
    parts += [f"Not run: {', '.join(none)}."] if none else []
    waiting = [f"`{study.name}`" for study in studies.every if study.defaults and study.name not in names]
    parts += [f"Ours: no finished run, or none of its own, in {', '.join(waiting)}."] if waiting else []
    return Section("Ablations", paper.LEADS["ablations"], [*parts, *footnotes("figure 3")])


def shown_sweeps(studies: Studies, axis: str) -> list[pd.DataFrame]:
    """What is to be seen, without sweeps whose every point is another study's too."""
    sweeps = [(sweep, sweep[sweep.kind == "ablation"]) for sweep in sweeps_of(studies, axis)]
    sweeps = [(sweep, own) for sweep, own in sweeps if own.measured.any()]
    left, _ = without_repeats([own for _, own in sweeps], studies.running.name)
    return [sweeps[i][0] for i in left]


def sweep_table(sweep: pd.DataFrame, listed: bool) -> Table:
    """Ours by value, the published curves beside it; with verdicts where both are of the same images and network."""
    base, default = sweep.iloc[0], float(sweep.value.iloc[0])
    last, best = (points_of(sweep, key) for key in ("recall@1", "best_recall@1"))
    theirs = {(p.dataset, round(float(p.at), 6)): p for p in paper.figure3(base.axis)}
    values = sorted({*last, *(at for _, at in theirs)})
    compared = next((p.dataset for p in theirs.values() if place(p) == tuple(base[ANSWER])), "")
    labels = [f"{value:g}" + " (default)" * (value == default) for value in values]
    columns = [words(AXIS_NAMES[base.axis], labels)]
    columns.append(Column("R@1", [percent(last.get(value)) for value in values], "high"))
    columns.append(Column("best epoch R@1", [percent(best.get(value)) for value in values], "high"))
    columns.append(Column("n", [seeds(last.get(value)) for value in values]))
    for dataset in DATASETS:
        found = [theirs.get((dataset, value)) for value in values]
        columns.append(Column(f"{dataset_name(dataset)} (digitised)", [printed(p) for p in found], "high"))
        if dataset == compared:
            said = [verdict(p, last.get(value)) if p else Verdict("") for p, value in zip(found, values)]
            columns += verdict_columns([Row(p or "", v) for p, v in zip(found, said)])[:2]
    reason = incomparable([base.run]) or "Figure 3 is of a ResNet-50 of 512 dimensions"
    noise = f" at {share(base.noise)} noise" * bool(base.noise)
    title = (
        f"**{AXIS_NAMES[base.axis]}** (Figure {paper.figure3(base.axis)[0].table}); ours on "
        f"{dataset_name(base.dataset)}{noise}, study `{base.study}`{f'; not comparable: {reason}' * (not compared)}."
    )
    reading = readings.sweep_reading(list(last.items()), default)
    return table_of(f"ablation-{base.axis}-{base.study}", title, columns, [reading], listed)


def published_curve(axis: str) -> Table:
    theirs = paper.figure3(axis)
    values = sorted({p.at for p in theirs})
    columns = [words(AXIS_NAMES[axis], [f"{value:g}" for value in values])]
    for dataset in DATASETS:
        found = {p.at: printed(p) for p in theirs if p.dataset == dataset}
        columns.append(Column(f"{dataset_name(dataset)} (digitised)", [found[value] for value in values], "high"))
    title = f"**{AXIS_NAMES[axis]}** (Figure {theirs[0].table}); ours: not run."
    return table_of(f"ablation-{axis}-published", title, columns, listed=False)


def figure_rows(studies: Studies) -> list[Row]:
    """A row for each point of Figure 3, by the first study that sweeps the axis on those images and network."""
    rows = []
    for axis in AXIS_NAMES:
        sweeps = [(tuple(sweep.iloc[0][ANSWER]), points_of(sweep, "recall@1")) for sweep in sweeps_of(studies, axis)]
        for p in paper.figure3(axis):
            ours = _ours(p, sweeps)
            rows.append(Row(p, verdict(p, ours), ours=ours))
    return rows


def _ours(p: Published, sweeps: Sequence[tuple[tuple, dict]]) -> Summary | None:
    """Of the first study that asks for the point and has a run of it, else of the first that asks for it."""
    at = round(float(p.at), 6)
    found = [points[at] for answered, points in sweeps if place(p) == answered and at in points]
    return next((summary for summary in found if summary.n), found[0] if found else None)
