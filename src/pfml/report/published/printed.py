"""The published numbers as tables: as they were printed, with what is lost or doubtful said so."""

from collections.abc import Sequence

from pfml.report.names import dataset_name, metric_name
from pfml.report.published import paper
from pfml.report.published.paper import Published
from pfml.report.readings import published_drops
from pfml.report.table import DASH, EMPTY, Column, Entry, Table, table_of, words

LOST = "not recovered"
MARKED = ("third-party", "recalled")  # sources that stand beside a number; Figure 3's "digitised" stands in headings


def printed(p: Published | None, marked: bool = True) -> Entry:
    """A published number as it was printed, its source beside it where that is not the paper itself.

    Empty where there is no such row, a dash where the paper prints one.
    """
    if p is None:
        return EMPTY
    if not p.recovered:
        return Entry(text=LOST)
    if p.value is None:
        return DASH
    mark = p.source if marked and p.source in MARKED else ""
    if not isinstance(p.value, float):
        return Entry(text=str(p.value), mark=mark)
    if abs(p.value) < 0.1:  # a setting, such as a learning rate
        return Entry(text=f"{p.value:g}", mark=mark)
    digits = 2 if p.source == "recalled" or round(p.value, 1) != p.value else 1
    return Entry(p.value, p.std, digits, mark=mark)


def published_parts(table: int) -> list[Table | str]:
    """Rows by network and method, columns by dataset and metric; the best of each network bold.

    Where a method has several dimensions of one network (MLRC), these are columns too. Methods of which nothing is
    recovered are named in a line below; no column that misses some is bold.
    """
    numbers = paper.published(table)
    dims: dict = {}
    for p in numbers:
        dims.setdefault((p.backbone, p.method), set()).add(p.dim)
    split = any(len(found) > 1 for found in dims.values())

    def place(p: Published) -> tuple:
        """(row's network, row's method, column)"""
        network, spot = (p.backbone, (p.dim,)) if split else (network_name(p), ())
        return network, p.method, (*spot, p.dataset, p.metric)

    runs = {place(p): p for p in numbers}
    recovered = {p.method for p in numbers if p.recovered}
    lost = list(dict.fromkeys(p.method for p in numbers if p.method not in recovered))
    spots = list(dict.fromkeys(spot for _, _, spot in runs))
    rows = [row for row in dict.fromkeys((network, method) for network, method, _ in runs) if row[1] not in lost]
    sources = [runs[(*row, spots[0])].source for row in rows]
    columns = [words("Network", [network for network, _ in rows]), words("Method", [method for _, method in rows])]
    columns += [words("Source", sources)] if any(p.source != "paper" for p in numbers) else []
    columns += [_column(spot, rows, runs, "" if lost else "high") for spot in spots]
    below = [f"{LOST.capitalize()}: {', '.join(lost)}."] if lost else []
    stated = ["The text states: " + "; ".join(s.text for s in paper.statements(table)) + "."] if lost else []
    if not rows:
        return below
    title = "**As published**, the best of each network bold."
    return [table_of(f"table-{table}-published", title, columns, listed=False), *below, *stated]


def _column(spot: tuple, rows: Sequence[tuple], runs: dict, best: str) -> Column:
    """One published column; the best of each network is marked, so networks are marked one by one."""
    entries = []
    for network in dict.fromkeys(network for network, _ in rows):
        group = [printed(runs.get((*row, spot)), marked=False) for row in rows if row[0] == network]
        entries += Column("", group, best).marked()
    *dim, dataset, metric = spot
    heading = " ".join([*(f"{d}-d" for d in dim), dataset_name(dataset), metric_name(metric)])
    return Column(heading, entries)


def network_name(p: Published) -> str:
    return f"{p.backbone} {p.dim}-d"


def published_pairs() -> dict[str, dict[str, tuple]]:
    """dataset -> method -> (R@1 of Table 1 with a ResNet-50, of Table 2, drop), None where the paper has none."""
    found = {}
    for dataset, drops in published_drops().items():
        clean, noisy = (paper.recalls(table)[dataset] for table in (1, 2))
        found[dataset] = {method: (clean.get(method), noisy[method], drops.get(method)) for method in noisy}
    return found


def footnotes(place: int | str) -> list[str]:
    """What the paper contradicts itself in, about a table or figure: a list below it, [] without."""
    notes = [f"* {note.text}" for note in paper.footnotes(place)]
    return ["The paper's own inconsistencies here:\n\n" + "\n".join(notes)] if notes else []
