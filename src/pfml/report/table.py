"""A table of the report as data; Markdown, CSV, LaTeX and whatever comes later are written from the same one.

`Entry` is one cell, `Column` a column in the making, `Table` what is written, `Section` a heading with tables and
sentences. Texts may hold `code` and **bold** of Markdown and nothing else of it;
names in them are `pfml.report.markup.literal`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pfml.report.markup import literal
from pfml.report.names import MISSING, number
from pfml.report.results import Summary


@dataclass(frozen=True)
class Entry:
    """A number with its spread, or words in its place, or nothing. `mark`: what is to be known of a number's source;
    kinds: of processors that trained its runs.

    Of both a number and words, people read the words and programs the number.
    """

    value: float | None = None
    std: float | None = None
    digits: int = 1
    text: str = ""
    mark: str = ""
    best: bool = False
    kinds: frozenset[str] = frozenset()

    @property
    def empty(self) -> bool:
        return self.value is None and not self.text

    @property
    def printed(self) -> str:
        """The number as it is rounded, without its spread: what decides whether two are equal in print."""
        return "" if self.value is None else number(self.value, digits=self.digits)


MIXED = "†"  # of a row or claim with runs of several kinds of processors
EMPTY = Entry()
DASH = Entry(text=MISSING)  # a dash that the paper prints


@dataclass(frozen=True)
class Column:
    """best: "high" or "low" where the best number is to be marked. words: set left, as text is."""

    heading: str
    entries: Sequence[Entry]
    best: str = ""
    words: bool = False

    def marked(self) -> list[Entry]:
        """The entries with the best one marked, and all that print the same; one alone stays plain."""
        values = [e.value for e in self.entries if e.value is not None]
        if not self.best or len(values) < 2:
            return list(self.entries)
        best = (max if self.best == "high" else min)(values)
        label = next(e.printed for e in self.entries if e.value == best)
        return [replace(e, best=e.value is not None and e.printed == label) for e in self.entries]


@dataclass(frozen=True)
class Table:
    """name: of its files, reports/tables/<name>.csv and .tex. title: the sentence above it. readings: those below;
    note: what a mark of its rows means. listed: False for one that tables.md leaves to its files.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    words: tuple[bool, ...]
    readings: tuple[str, ...] = ()
    listed: bool = True
    note: str = ""


@dataclass(frozen=True)
class Section:
    heading: str
    lead: str = ""
    parts: Sequence[Table | str] = field(default_factory=tuple)

    @property
    def tables(self) -> list[Table]:
        return [part for part in self.parts if isinstance(part, Table)]


def table_of(name: str, title: str, columns: Sequence[Column], readings: Sequence[str] = (), listed=True) -> Table:
    """Columns of equal length, side by side; an empty reading is left out, and a row whose runs were trained by several
    kinds of processors gets a mark.

    Raises:
        ValueError: columns of different lengths.
    """
    if len({len(column.entries) for column in columns}) > 1:
        lengths = {column.heading: len(column.entries) for column in columns}
        raise ValueError(f"table {name}: expected columns of one length, found {lengths}")
    rows, mixed = [], frozenset()
    for row in zip(*(column.marked() for column in columns)):
        kinds = frozenset().union(*(entry.kinds for entry in row))
        mixed |= kinds if len(kinds) > 1 else frozenset()
        rows.append((replace(row[0], mark=MIXED), *row[1:]) if len(kinds) > 1 else row)
    header, of_words = tuple(column.heading for column in columns), tuple(column.words for column in columns)
    return Table(name, title, header, tuple(rows), of_words, tuple(filter(None, readings)), listed, mixed_note(mixed))


def mixed_note(kinds: Iterable[str]) -> str:
    """What the mark of rows says that mix these kinds; nothing of one kind."""
    named = sorted(literal(kind or "not recorded") for kind in kinds)
    return f"{MIXED} mixes kinds of processors: {'; '.join(named)}." if len(named) > 1 else ""


def words(heading: str, texts: Sequence[str]) -> Column:
    return Column(heading, [Entry(text=text) for text in texts], words=True)


def numbers(heading: str, values: Iterable[float | None], digits: int = 1, best: str = "") -> Column:
    """None and NaN leave a cell empty."""
    return Column(heading, [EMPTY if v is None or v != v else Entry(v, digits=digits) for v in values], best)


def plain(digits: int, spread: bool = False, factor: float = 1.0) -> Callable[[Summary | None], Entry]:
    """What shows a summary as its mean times a factor, and its deviation where `spread`; empty without a run."""

    def entry(summary: Summary | None) -> Entry:
        if summary is None or summary.mean is None:
            return EMPTY
        std = factor * summary.std if spread and summary.std is not None else None
        return Entry(factor * summary.mean, std, digits, kinds=summary.kinds)

    return entry


percent = plain(1, spread=True, factor=100)  # of fractions


def by_method(heading: str, row: Mapping[str, Summary], methods: Sequence[str], show=percent, best: str = "") -> Column:
    """A measure of ours, `row`, of each of `methods`; empty where the row has none."""
    return Column(heading, [show(row.get(m)) for m in methods], best)


def seeds_of(summaries: Iterable[Summary | None]) -> Entry:
    """`seeds` of several numbers of one row: `2 of 3, 3` where they differ; those without a run do not count."""
    entries = [seeds(summary) for summary in summaries if summary and summary.n]
    texts = list(dict.fromkeys(entry.text or entry.printed for entry in entries))
    return EMPTY if not texts else entries[0] if len(texts) == 1 else Entry(text=", ".join(texts))


def seeds(summary: Summary | None) -> Entry:
    """Number of finished seeds; `1 of 3` where some are missing, empty where all are."""
    if summary is None or not summary.n:
        return EMPTY
    if summary.n < summary.expected:
        return Entry(summary.n, digits=0, text=f"{summary.n} of {summary.expected}", kinds=summary.kinds)
    return Entry(summary.n, digits=0, kinds=summary.kinds)
