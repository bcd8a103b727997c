"""Figure 3 as tables: R@1 of PFML along one setting, ours beside the published curves."""

from collections import Counter
from collections.abc import Sequence

from pfml.report import readings
from pfml.report.blocks import Block, without_repeats
from pfml.report.ledger import Summary, Sweep, summarise
from pfml.report.names import dataset_name, share
from pfml.report.published import paper
from pfml.report.published.paper import AXIS_NAMES, Published
from pfml.report.published.printed import footnotes, printed
from pfml.report.studies import Studies
from pfml.report.table import Column, Section, Table, numbers, percent, seeds, table_of, words
from pfml.report.verdicts import Verdict, answers, verdict, why_not

LEAD = (
    "R@1 (%) of PFML along one setting, the others at their default; Figure 3 was measured from its plot (digitised)."
)


def ablation_section(studies: Studies) -> Section:
    """Each axis of each study that has finished points, and those of the study being run."""
    shown = shown_sweeps(studies)
    parts: list[Table | str] = []
    for axis in AXIS_NAMES:
        found = [(study, sweep) for study, sweep in shown if sweep.axis == axis]
        parts += [sweep_table(study.name, sweep, studies) for study, sweep in found] or [published_curve(axis)]
    names = {study.name for study, _ in shown}
    waiting = [f"`{study.name}`" for study in studies.every if study.sweeps and study.name not in names]
    parts += [f"Ours: no finished run, or none of its own, in {', '.join(waiting)}."] if waiting else []
    return Section("Ablations", LEAD, [*parts, *footnotes("figure 3")])


def shown_sweeps(studies: Studies) -> list[tuple]:
    """(study, sweep) of what is to be seen, without those whose every point is another study's too."""
    found = [
        (study, sweep)
        for study in studies.every
        for sweep in study.sweeps
        if study is studies.running or studies.ledger.find_all(sweep.runs)
    ]
    shown = []
    for axis in AXIS_NAMES:
        same = [pair for pair in found if pair[1].axis == axis]
        blocks = [Block(study.name, "", "", 0, tuple(sweep.runs)) for study, sweep in same]
        left, _ = without_repeats(blocks, lambda block: block.runs, studies.running.name)
        kept = {block.study for block in left}
        shown += [(study, sweep) for study, sweep in same if study.name in kept]
    return shown


def sweep_table(name: str, sweep: Sweep, studies: Studies) -> Table:
    """Ours by value, the published curves beside it; with verdicts where both are of the same images and network."""
    runs = {round(value, 6): found for value, found in sweep.points()}
    theirs = {(p.dataset, round(float(p.at), 6)): p for p in paper.figure3(sweep.axis)}
    values = sorted({*runs, *(at for _, at in theirs)})
    last, best = (_row(runs, key, studies) for key in ("recall@1", "best_recall@1"))
    base = sweep.base[0]
    compared = next((p.dataset for p in theirs.values() if answers(base, p)), "")
    labels = [f"{value:g}" + " (default)" * (value == round(float(sweep.default), 6)) for value in values]
    columns = [words(AXIS_NAMES[sweep.axis], labels)]
    columns.append(Column("R@1", [percent(last.get(value)) for value in values], "high"))
    columns.append(Column("best epoch R@1", [percent(best.get(value)) for value in values], "high"))
    columns.append(Column("n", [seeds(last.get(value)) for value in values]))
    for dataset in ("cub200", "cars196"):
        found = [theirs.get((dataset, value)) for value in values]
        columns.append(Column(f"{dataset_name(dataset)} (digitised)", [printed(p) for p in found], "high"))
        if dataset == compared:
            said = [verdict(p, last.get(value)) if p else Verdict("") for p, value in zip(found, values)]
            columns.append(numbers("difference", [v.difference for v in said]))
            columns.append(words("verdict", [v.text for v in said]))
    reason = (
        "" if compared else f"; not comparable: {why_not([base]) or 'Figure 3 is of a ResNet-50 of 512 dimensions'}"
    )
    noise = f" at {share(base.noise)} noise" * (base.noise > 0)
    title = (
        f"**{AXIS_NAMES[sweep.axis]}** (Figure {paper.figure3(sweep.axis)[0].table}); ours on "
        f"{dataset_name(base.dataset)}{noise}, study `{name}`{reason}."
    )
    points = [(value, last[value]) for value in runs]
    reading = readings.sweep_reading(points, float(sweep.default), sweep.axis)
    return table_of(f"ablation-{sweep.axis}-{name}", title, columns, [reading])


def published_curve(axis: str) -> Table:
    theirs = paper.figure3(axis)
    values = sorted({p.at for p in theirs})
    columns = [words(AXIS_NAMES[axis], [f"{value:g}" for value in values])]
    for dataset in ("cub200", "cars196"):
        found = {p.at: printed(p) for p in theirs if p.dataset == dataset}
        columns.append(Column(f"{dataset_name(dataset)} (digitised)", [found[value] for value in values], "high"))
    title = f"**{AXIS_NAMES[axis]}** (Figure {theirs[0].table}); ours: not run."
    return table_of(f"ablation-{axis}-published", title, columns)


def _row(runs: dict, key: str, studies: Studies) -> dict[float, Summary]:
    return {value: summarise(studies.ledger, found, key) for value, found in runs.items()}


def figure_verdicts(studies: Studies) -> Counter:
    """Verdicts on the points of Figure 3, by the first study that sweeps the axis on those images and network."""
    theirs = [p for axis in AXIS_NAMES for p in paper.figure3(axis)]
    return Counter(verdict(p, _ours(p, studies)).word for p in theirs)


def _ours(p: Published, studies: Studies) -> Summary | None:
    """Of the first study that asks for the point and has a run of it, else of the first that asks for it."""
    sweeps: Sequence[Sweep] = [s for study in studies.every for s in study.sweeps if s.axis == p.axis]
    found = []
    for sweep in sweeps:
        if sweep.base and answers(sweep.base[0], p):
            runs = {round(value, 6): at for value, at in sweep.points()}.get(round(float(p.at), 6))
            found += [summarise(studies.ledger, runs, "recall@1")] if runs else []
    return next((summary for summary in found if summary.n), found[0] if found else None)
