"""Table 9: published seconds of an epoch, and percent over ProxyNCA, beside ours of each study that was timed.

Seconds are of one machine; what is judged is by how many percent an epoch is longer than ProxyNCA's in the same round.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pfml.report.ledger import Summary
from pfml.report.published import paper
from pfml.report.published.paper import Published
from pfml.report.published.printed import printed
from pfml.report.studies import Studies
from pfml.report.table import Column, Entry, Table, numbers, plain, seeds, table_of, words
from pfml.report.timings import Timed
from pfml.report.verdicts import TOLERANCE, Verdict, judged, verdicts_once, why_not

BASE = "proxy_nca"  # the paper's first row
GPU = "A4000"
ROUNDING = 0.05  # seconds: the paper prints one decimal


@dataclass(frozen=True)
class Row:
    """A published row and the timing that answers it, with that of ProxyNCA; None where there is none."""

    theirs: Published
    study: str = ""
    timed: Timed | None = None
    base: Timed | None = None
    reason: str = ""

    @property
    def published(self) -> float:
        """Percent by which the published epoch is longer than ProxyNCA's."""
        return 100 * (self.theirs.value / paper.published(9)[0].value - 1)

    @property
    def ours(self) -> Summary:
        """The same, mean and std over rounds."""
        percents = longer(self.timed, self.base) if self.timed and self.base else []
        std = statistics.stdev(percents) if len(percents) > 1 else None
        return Summary(statistics.fmean(percents) if percents else None, std, len(percents), len(percents))

    @property
    def verdict(self) -> Verdict:
        """None of ProxyNCA, which is 0 % over itself. Of other machines or images: a difference and no verdict."""
        if self.theirs.key == BASE:
            return Verdict("")
        if self.ours.mean is None:
            return Verdict("not run")
        rounding = ROUNDING / paper.published(9)[0].value * (200 + self.published)  # of both published seconds
        found = judged(self.ours.mean, self.ours.std, self.published, unit=max(1.0, rounding / TOLERANCE))
        return Verdict("not comparable", self.reason, found.difference) if self.reason else found


def longer(one: Timed, base: Timed) -> list[float]:
    """Percent by which an epoch is longer than the base's, round by round."""
    return [100 * (a / b - 1) for a, b in zip(one.epochs, base.epochs)]


def rows_of(found: Mapping[str, Sequence[Timed]], studies: Studies) -> list[Row]:
    """A row for every published one and each study that was timed, at least one."""
    rows = []
    for p in paper.published(9):
        for study, timings in found.items():
            base = next((one for one in timings if one.method == BASE), None)
            own = next(
                (t for t in timings if t.method == p.key and (p.at is None or t.proxies_per_class == p.at)), None
            )
            processor = timings[0].processor
            reason = why_not([studies.find(study).timed[0]])
            reason = reason or ("" if GPU in processor else f"timed on {processor}, the paper's on an NVIDIA {GPU}")
            rows.append(Row(p, study, own, base, reason))
        rows += [] if found else [Row(p)]
    return rows


def cost_comparison(table: int, rows: Sequence[Row]) -> Table:
    """Ours beside every published row: seconds, percent over ProxyNCA, difference of the percent, verdict, n."""
    columns = [
        words("Method", [row.theirs.method for row in rows]),
        words("Study", [f"`{row.study}`" if row.study else "" for row in rows]),
        Column("published s per epoch", [printed(row.theirs) for row in rows]),
        Column("s per epoch", [Entry(row.timed.per_epoch if row.timed else None, digits=3) for row in rows]),
        numbers("published %", [row.published for row in rows]),
        Column("ours %", [plain(1, spread=True)(row.ours) for row in rows]),
        numbers("difference", [row.verdict.difference for row in rows]),
        words("verdict", [row.verdict.text for row in rows]),
        Column("n", [seeds(row.ours) for row in rows]),
    ]
    title = (
        "**Percent over ProxyNCA**: ours beside the published. Seconds are the median of n rounds, percent the mean ± "
        "standard deviation of n rounds, each beside ProxyNCA in the same round. Timings are no MLflow runs: "
        "`reports/complexity/<study>.csv` has them."
    )
    return table_of(f"table-{table}-compared", title, columns)


def cost_verdicts(rows: Sequence[Row]) -> Counter:
    """Verdicts on the published percents, each counted once; of other machines or images they stay "not run"."""
    judged_here = [(row.theirs, "not run" if row.reason else row.verdict.word) for row in rows]
    return verdicts_once((p, word) for p, word in judged_here if p.key != BASE)
