"""Ours beside a published number: which runs answer it, what may be said of the difference, and how often each verdict
was given.

The rule is in docs/reports.md. Of retrieval it judges the last epoch; the best epoch stands beside it for the reader.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from pfml.report.groups import summarize
from pfml.report.markup import literal
from pfml.report.names import DATASETS, dataset_name, metric_name
from pfml.report.published import paper
from pfml.report.published.paper import NETWORKS, Published
from pfml.report.published.printed import printed
from pfml.report.results import Studies, Summary
from pfml.report.table import Column, Table, numbers, seeds, table_of, words
from pfml.settings.run import Run

NOT_RUN = "not run"
WORDS = ("reproduced", "below", "above", NOT_RUN, "not comparable")
TOLERANCE = 0.5  # points
DEVIATIONS = 2.0
UNSURE = {"third-party": "read by a third party", "not found": "published number not recovered"}
RECALLED = "the published number is recalled"  # judged, and said so with the verdict
MLRC = (6, 7)  # of cross validations, which single runs never answer


@dataclass(frozen=True)
class Verdict:
    """word: one of WORDS, or "" where the paper prints no number. difference: ours less published, in points (of a
    ratio: as a ratio).
    """

    word: str
    reason: str = ""
    difference: float | None = None

    @property
    def text(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


@dataclass(frozen=True, eq=False)
class Row:
    """A published number and ours beside it, a line of any table that compares.

    theirs: the number, or a name for it where only the text gives it. studies: that ask for it. ours: None where no
    study does. runs: that answer it. elsewhere: why ours, of other images, networks or machines, get a difference and
    no verdict. seconds: of an epoch, in Table 9.
    """

    theirs: Published | str
    verdict: Verdict
    studies: Sequence[str] = ()
    ours: Summary | None = None
    runs: pd.DataFrame | None = None
    elsewhere: str = ""
    seconds: float | None = None

    @property
    def ran(self) -> bool:
        """Whether ours was measured."""
        return bool(self.ours and self.ours.n)


def verdict(theirs: Published, ours: Summary | None) -> Verdict:
    """The verdict on a published percentage.

    Args:
        ours: the same measure at the last epoch as a fraction; None: no study asks for it.
    """
    if theirs.value is None and theirs.recovered:
        return Verdict("")
    if theirs.source in UNSURE:
        return Verdict("not comparable", UNSURE[theirs.source])
    if ours is None or ours.mean is None:
        if not theirs.key:
            return Verdict(NOT_RUN, "no such method here")
        return Verdict(NOT_RUN, "in no study" if ours is None else "")
    std = None if ours.std is None else 100 * ours.std
    return judged(100 * ours.mean, std, theirs.value, theirs.std, RECALLED if theirs.source == "recalled" else "")


def judged(
    mean: float, std: float | None, published: float, published_std: float | None = None, reason: str = "", unit=1.0
) -> Verdict:
    """Ours beside the published number, both of one unit; a std that is not known (None) counts as 0.

    Args:
        unit: what one point is in that unit: 1 for percentages, 0.01 for ratios.
    """
    difference = mean - published
    allowed = max(TOLERANCE * unit, DEVIATIONS * math.hypot(std or 0.0, published_std or 0.0)) + 1e-9
    word = "reproduced" if abs(difference) <= allowed else "above" if difference > 0 else "below"
    return Verdict(word, reason, difference)


def rows_of(theirs: Iterable[Published], studies: Studies) -> list[Row]:
    """A row for every published number; two where studies answer it with different configurations."""
    rows = []
    for p in theirs:
        found = studies.answers.get(place(p), []) if p.table not in MLRC else []
        rows += rows_for(p, p.metric, found)
    return rows


def rows_for(p: Published, key: str, found: Sequence[tuple]) -> list[Row]:
    """A row for each of the configurations that answer a published number by their measure `key`, at least one row."""
    rows = [Row(p, verdict(p, ours := summarize(runs, key)), names, ours, runs) for names, runs in found]
    return rows or [Row(p, verdict(p, None))]


def place(p: Published) -> tuple:
    """Of the columns ANSWER."""
    return p.key, p.dataset, p.backbone, p.dim, p.noise


def incomparable(runs: Iterable[Run]) -> str:
    """Why runs of one study, dataset and network may not be set beside any published number; "" where they may."""
    runs = list(runs)
    run = runs[0]
    if run.dataset not in DATASETS:
        return f"{dataset_name(run.dataset)} is no dataset of the paper"
    if any(run.train["hold_out"] for run in runs):
        return "measured on validation classes"
    if run.backbone not in NETWORKS or run.model["weights"] != "pretrained":
        return f"the paper has no {literal(run.backbone)}" + " with these weights" * (run.backbone in NETWORKS)
    if not any(p.dim == run.dim for p in paper.published(backbone=NETWORKS[run.backbone], dataset=run.dataset)):
        return f"the paper has no {literal(run.backbone)} of {run.dim} dimensions on {dataset_name(run.dataset)}"
    return ""


def count_verdicts(rows: Iterable[Row]) -> Counter:
    """How often each word was said of the published numbers. A number with several rows counts once, by the first that
    was run; ours of other images, networks or machines count as not run.
    """
    said: dict = {}
    for row in rows:
        if said.get(row.theirs, NOT_RUN) == NOT_RUN:
            said[row.theirs] = NOT_RUN if row.elsewhere else row.verdict.word
    return Counter(said.values())


def comparison(table: int, rows: Sequence[Row], network: Callable, ours: Callable, digits=1) -> list[Table | str]:
    """Ours beside every published number of a table: a list of those that were run, a line about the others, and all of
    them in a file.

    Args:
        network: published number -> the words for its network. ours: rows -> heading -> an entry a row.
    """
    ran = [row for row in rows if row.ran]
    title = "**Ours beside the published**"

    def of(name: str, rows: Sequence[Row], what: str, listed: bool) -> Table:
        theirs = [row.theirs for row in rows]
        columns = [words("Dataset", [dataset_name(p.dataset) for p in theirs])]
        columns += [words("Network", list(map(network, theirs))), words("Method", [p.method for p in theirs])]
        columns += [words("measure", [metric_name(p.metric) for p in theirs]), study_column(rows)]
        columns += [Column("published", list(map(printed, theirs)))]
        columns += [Column(heading, entries) for heading, entries in ours(rows).items()]
        return table_of(
            f"table-{table}-{name}", f"{title}{what}.", [*columns, *verdict_columns(rows, digits)], (), listed
        )

    shown = [of("run", ran, ", of the rows that were run", True)] if ran else []
    return [*shown, not_run(rows), of("compared", rows, ", every number", False)]


def not_run(rows: Sequence[Row]) -> str:
    """How many published numbers nobody has run, which preset runs them, and what is compared with nothing."""
    ran = {row.theirs for row in rows if row.ran}
    said = {row.theirs: row for row in reversed(rows) if row.verdict.word and row.theirs not in ran}
    left = [row for row in said.values() if row.verdict.word == NOT_RUN][::-1]
    asking = Counter(study for row in left for study in row.studies)
    presets = Counter(max(row.studies, key=asking.get) for row in left if row.studies)
    others = Counter(row.verdict.text for row in reversed(said.values()) if not (row in left and row.studies))
    how = ", ".join(f"`{name}` {count}" for name, count in presets.items())
    parts = [f"`make repro PRESET=<name>` runs {how}"] * bool(how) + [f"{n} {text}" for text, n in others.items()]
    numbers = len({row.theirs for row in rows if row.verdict.word})
    return f"**Not run: {len(left)} of {numbers} published numbers.** {'; '.join(parts)}." if said else ""


def study_column(rows: Sequence[Row]) -> Column:
    return words("Study", [" ".join(f"`{study}`" for study in row.studies) for row in rows])


def verdict_columns(rows: Sequence[Row], digits: int = 1) -> list[Column]:
    """Difference, verdict and n."""
    difference = numbers("difference", [row.verdict.difference for row in rows], digits)
    said = words("verdict", [row.verdict.text for row in rows])
    return [difference, said, Column("n", [seeds(row.ours) for row in rows])]
