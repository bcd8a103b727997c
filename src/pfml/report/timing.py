"""Table 9: seconds of a training epoch against the number of proxies, ours as the stage `complexity` timed them."""

import statistics
from collections.abc import Sequence

from pfml.report.blocks import Block
from pfml.report.claims import OVERHEAD, Evidence
from pfml.report.cost_comparison import BASE, cost_comparison, longer, rows_of
from pfml.report.intervals import below, effect
from pfml.report.pools import Pool, pools_of
from pfml.report.published import paper
from pfml.report.published.printed import footnotes, printed
from pfml.report.retrieval_tables import OWN
from pfml.report.studies import Studies
from pfml.report.table import Column, Entry, Table, numbers, table_of, words
from pfml.report.timings import Timed


def timed_by(studies: Studies) -> dict[str, list[Timed]]:
    """study -> its timings, of the configurations that the study asks for as it stands."""
    wanted = {study.name: {run.digest for run in study.timed} for study in studies.every}
    found: dict[str, list[Timed]] = {}
    for one in studies.timings:
        if one.digest in wanted.get(one.study, ()):
            found.setdefault(one.study, []).append(one)
    return found


def cost_tables(table: int, studies: Studies, blocks: Sequence[Block]) -> list[Table | str]:
    """Published seconds per epoch, each as a ratio to the first row, and ours of each study that was timed."""
    theirs = paper.published(table)
    base, worst = theirs[0], max(theirs, key=lambda p: p.value)
    columns = [
        words("Method", [p.method for p in theirs]),
        Column("s per epoch", [printed(p) for p in theirs]),
        numbers(f"ratio to {base.method}", [p.value / base.value for p in theirs], digits=3),
    ]
    slower = 100 * (worst.value / base.value - 1)
    said = f"The slowest, {worst.method}, takes {slower:.1f} % longer than {base.method}."
    parts: list[Table | str] = [table_of(f"table-{table}-published", "Published:", columns, [said])]
    found = timed_by(studies)
    parts += [cost_comparison(table, rows_of(found, studies)), OWN]
    parts += [_own_table(study, timings, studies) for study, timings in found.items()]
    if not found:
        parts.append(f"Ours: not run (`{studies.running.name}` was not timed).")
    return [*parts, *footnotes(table)]


def _own_table(study: str, timings: Sequence[Timed], studies: Studies) -> Table:
    run = studies.find(study).timed[0]
    first = next((one for one in timings if one.method == BASE), timings[0])
    ratios = [[a / b for a, b in zip(one.epochs, first.epochs)] for one in timings]
    columns = [
        words("Method", [one.label for one in timings]),
        numbers("batch", [one.batch for one in timings], digits=0),
        Column("s per epoch", [Entry(one.per_epoch, digits=3) for one in timings]),
        Column("ms per step", [Entry(1000 * statistics.median(one.seconds), digits=1) for one in timings]),
        Column(f"ratio to {first.label}", [Entry(statistics.median(found), digits=3) for found in ratios]),
        Column("from", [Entry(min(found), digits=3) for found in ratios]),
        Column("to", [Entry(max(found), digits=3) for found in ratios]),
        numbers("rounds", [len(one.seconds) for one in timings], digits=0),
    ]
    where = f"{run.dataset}, {run.backbone}, {run.dim} dimensions"
    title = f"Study `{study}`: {where}, on {', '.join(dict.fromkeys(one.processor for one in timings))}."
    said = (
        "Ratios are taken round by round, the methods in turn, and their median shown; the network's share of a step "
        "decides how much of it a loss can be."
    )
    return table_of(f"table-9-{study}", title, columns, [said])


def costs_of(studies: Studies) -> list[Evidence]:
    """The claim on time for each pool: percent by which PFML's epochs are longer than ProxyNCA's, at the largest M."""
    found = []
    for study, timings in timed_by(studies).items():
        run = studies.find(study).timed[0]
        pool = next((p for p in pools_of(studies) if _same_place(p, run)), None)
        own = max((t for t in timings if t.method == "pfml"), key=lambda t: t.proxies_per_class, default=None)
        base = next((t for t in timings if t.method == BASE), None)
        if pool is None or own is None or base is None or any(e.pool.name == pool.name for e in found):
            continue
        extra = effect(dict(enumerate(longer(own, base))))
        step = 1000 * statistics.median(base.seconds)
        detail = (
            f"percent of an epoch at M {own.proxies_per_class}, whose steps take {step:.0f} ms with {base.label}: the "
            f"smaller the network, the larger this share; n rounds, on {own.processor}"
        )
        found.append(Evidence("overhead", pool, "pfml", below(extra, OVERHEAD), extra, base.label, detail))
    return found


def _same_place(pool: Pool, run) -> bool:
    place = (run.dataset, run.backbone, run.dim, run.model["weights"])
    return place == (pool.dataset, pool.backbone, pool.dim, pool.weights)
