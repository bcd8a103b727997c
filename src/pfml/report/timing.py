"""Table 9: seconds of a training epoch against the number of proxies, published, and ours as benchmarks/timing.py timed
them.

Seconds are of one machine. What is judged is by how many percent an epoch is longer than ProxyNCA's in the same round.
"""

import statistics
from collections.abc import Sequence

import pandas as pd

from pfml.report.claims import OVERHEAD, Evidence, below, effect
from pfml.report.groups import place_name, summary_of
from pfml.report.markup import literal
from pfml.report.names import dataset_name, method_name
from pfml.report.published import paper
from pfml.report.published.printed import printed
from pfml.report.results import PLACE, Studies
from pfml.report.table import Column, Table, numbers, plain, table_of, words
from pfml.report.verdicts import NOT_RUN, TOLERANCE, Row, Verdict, incomparable, judged, study_column, verdict_columns
from pfml.settings.run import Run

BASE = "proxy_nca"  # the paper's first row
GPU = "A4000"
ROUNDING = 0.05  # seconds: the paper prints one decimal


def timed_by(studies: Studies) -> dict[str, pd.DataFrame]:
    """study -> its timings, of the configurations that the study asks for as it stands."""
    wanted = {study.name: {run.digest for run in study.timed} for study in studies.every}
    found = {study: rows[rows.digest.isin(wanted.get(study, ()))] for study, rows in studies.timings.groupby("study")}
    return {study: rows for study, rows in found.items() if len(rows)}


def cost_tables(table: int, studies: Studies) -> list[Table | str]:
    """Published seconds per epoch and percent over ProxyNCA with ours beside them, and each study that was timed."""
    own = [own_table(table, studies.find(study).timed[0], timings) for study, timings in timed_by(studies).items()]
    none = f"Ours: not run (no timings of `{studies.running.name}` as it stands; `python benchmarks/run.py timing`)."
    return [cost_comparison(table, cost_rows(studies)), *(own or [none])]


def own_table(table: int, run: Run, timings: pd.DataFrame) -> Table:
    """Every row that was timed of the study of `run`, whether the paper has it or not."""
    base, pairs = timings[timings.method == BASE], zip(timings.method, timings.proxies_per_class)
    extra = [summary_of(longer(timings[i : i + 1], base)) for i in range(len(timings))]
    columns = [
        words("Method", [method_name(method) + f" M={count:g}" * (method == "pfml") for method, count in pairs]),
        numbers("batch", timings.batch, digits=0),
        numbers("s per epoch", map(statistics.median, timings.epochs), digits=3),
        numbers("ms per step", [1000 * statistics.median(seconds) for seconds in timings.seconds]),
        Column(f"% over {method_name(BASE)}", list(map(plain(1, spread=True), extra))),
        numbers("rounds", map(len, timings.seconds), digits=0),
    ]
    network = literal(f"{run.backbone}, {run.dim} dimensions, on {timings.processor.iloc[0]}")
    where = f"{dataset_name(run.dataset)}, {network}"
    return table_of(f"table-{table}-{run.study}", f"**Study `{run.study}`**: {where}.", columns, listed=False)


def cost_rows(studies: Studies) -> list[Row]:
    """A row for every published number and each study that was timed, at least one. ours: percent over ProxyNCA."""
    rows, found = [], timed_by(studies)
    for p in paper.published(9):
        for study, timings in found.items():
            own = timings[(timings.method == p.key) & (p.at is None or timings.proxies_per_class == p.at)]
            processor = timings.processor.iloc[0]
            reason = incomparable(studies.find(study).timed[:1])
            elsewhere = "" if GPU in processor else f"timed on {literal(processor)}, the paper's on an NVIDIA {GPU}"
            reason = reason or elsewhere
            ours = summary_of(longer(own, timings[timings.method == BASE]))
            seconds = statistics.median(own.epochs.iloc[0]) if len(own) else None
            rows.append(Row(p, _verdict(p, ours, reason), (study,), ours, elsewhere=reason, seconds=seconds))
        rows += [] if found else [Row(p, _verdict(p))]
    return rows


def longer(own: pd.DataFrame, base: pd.DataFrame) -> list[float]:
    """Percent by which an epoch of the first row is longer than the base's, round by round; [] where one is missing."""
    if own.empty or base.empty:
        return []
    return [100 * (a / b - 1) for a, b in zip(own.epochs.iloc[0], base.epochs.iloc[0])]


def published_percent(p: paper.Published) -> float:
    """By which the published epoch is longer than ProxyNCA's."""
    return 100 * (p.value / paper.published(9)[0].value - 1)


def _verdict(p: paper.Published, ours=None, reason: str = "") -> Verdict:
    """None of ProxyNCA, which is 0 % over itself. Of other machines or images: a difference and no verdict."""
    if p.key == BASE:
        return Verdict("")
    if ours is None or ours.mean is None:
        return Verdict(NOT_RUN)
    percent = published_percent(p)
    rounding = ROUNDING / paper.published(9)[0].value * (200 + percent)  # of both published seconds
    found = judged(ours.mean, ours.std, percent, unit=max(1.0, rounding / TOLERANCE))
    return Verdict("not comparable", reason, found.difference) if reason else found


def cost_comparison(table: int, rows: Sequence[Row]) -> Table:
    """Ours beside every published row: seconds, percent over ProxyNCA, difference of the percent, verdict, n."""
    columns = [
        words("Method", [row.theirs.method for row in rows]),
        study_column(rows),
        Column("published s per epoch", [printed(row.theirs) for row in rows]),
        numbers("s per epoch", [row.seconds for row in rows], digits=3),
        numbers("published %", [published_percent(row.theirs) for row in rows]),
        Column("ours %", [plain(1, spread=True)(row.ours) for row in rows]),
        *verdict_columns(rows),
    ]
    title = (
        "**Percent over ProxyNCA**: ours beside the published. Seconds are the median of n rounds, percent the mean ± "
        "standard deviation of n rounds, each beside ProxyNCA in the same round."
    )
    return table_of(f"table-{table}-compared", title, columns)


def costs_of(studies: Studies, pools: Sequence[pd.DataFrame]) -> list[Evidence]:
    """The claim on time for each pool: percent by which PFML's epochs are longer than ProxyNCA's, at the largest M."""
    found, names = [], {tuple(pool.iloc[0][PLACE]): place_name(pool) for pool in pools}
    for study, timings in timed_by(studies).items():
        run = studies.find(study).timed[0]
        name = names.get((run.dataset, run.backbone, run.dim, run.model["weights"] or "random"))
        own = timings[timings.method == "pfml"].nlargest(1, "proxies_per_class")
        base = timings[timings.method == BASE]
        if name is None or own.empty or base.empty or name in {e.pool for e in found}:
            continue
        extra, step = effect(dict(enumerate(longer(own, base)))), 1000 * statistics.median(base.seconds.iloc[0])
        detail = (
            f"percent of an epoch at M {own.proxies_per_class.iloc[0]:g}, whose steps take {step:.0f} ms with "
            f"{method_name(BASE)}: the smaller the network, the larger this share; n rounds, on "
            f"{literal(own.processor.iloc[0])}"
        )
        found.append(Evidence("overhead", name, "pfml", below(extra, OVERHEAD), extra, method_name(BASE), detail))
    return found
