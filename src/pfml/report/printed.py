"""The published numbers as Markdown: as they were printed, with what is lost or doubtful said so."""

from collections.abc import Sequence

from pfml import paper
from pfml.paper import Published
from pfml.report.readings import published_drops
from pfml.report.style import MISSING, bold_best, dataset_name, markdown_table, metric_name, number

LOST = "not recovered"


def printed(p: Published | None) -> str:
    """A published number as it was printed; a dash where the paper has none."""
    if p is None or (p.value is None and p.recovered):
        return MISSING
    if not p.recovered:
        return LOST
    if not isinstance(p.value, float):
        return str(p.value)
    if abs(p.value) < 0.1:  # a setting, such as a learning rate
        return f"{p.value:g}" + (f" ({p.source})" if p.source == "third-party" else "")
    digits = 2 if p.source == "recalled" or round(p.value, 1) != p.value else 1
    return number(p.value, p.std, digits)


def published_table(numbers: Sequence[Published]) -> str:
    """Rows by network and method, columns by dataset and metric; the best of each network bold.

    Where a method has several dimensions of one network (MLRC), these are columns too. Methods of which nothing is
    recovered are named in a line below; no column that misses some is bold.
    """
    dims: dict = {}
    for p in numbers:
        dims.setdefault((p.backbone, p.method), set()).add(p.dim)
    split = any(len(found) > 1 for found in dims.values())

    def place(p: Published) -> tuple:
        """(row's network, row's method, column)"""
        network, spot = (p.backbone, (p.dim,)) if split else (f"{p.backbone} {p.dim}-d", ())
        return network, p.method, (*spot, p.dataset, p.metric)

    cells = {place(p): p for p in numbers}
    lost = _lost_methods(numbers)
    spots = list(dict.fromkeys(spot for _, _, spot in cells))
    rows = []
    for network in dict.fromkeys(network for network, _, _ in cells):
        methods = [m for m in dict.fromkeys(m for n, m, _ in cells if n == network) if m not in lost]
        columns = []
        for spot in spots:
            found = [cells.get((network, m, spot)) for m in methods]
            values = [p.value if p and not lost and isinstance(p.value, float) else None for p in found]
            columns.append(bold_best([printed(p) for p in found], values))
        sources = [cells[network, m, spots[0]].source for m in methods]
        rows += zip([network] * len(methods), methods, sources, *columns)
    header = ["Network", "Method", "Source", *map(_heading, spots)]
    if all(p.source == "paper" for p in numbers):
        header, rows = header[:2] + header[3:], [row[:2] + row[3:] for row in rows]
    below = f"\n\n{LOST.capitalize()}: {', '.join(lost)}." if lost else ""
    return (markdown_table(header, rows, notes=header.index("Method") + 1) if rows else "") + below


def _heading(spot: tuple) -> str:
    *dim, dataset, metric = spot
    return " ".join([*(f"{d}-d" for d in dim), dataset_name(dataset), metric_name(metric)])


def _lost_methods(numbers: Sequence[Published]) -> list[str]:
    return [
        m for m in dict.fromkeys(p.method for p in numbers) if not any(p.recovered for p in numbers if p.method == m)
    ]


def published_pair(dataset: str) -> dict[str, tuple]:
    """key -> (clean R@1 of Table 1 with a ResNet-50, R@1 of Table 2, drop), None where the paper has none."""
    where = {"dataset": dataset, "metric": "recall@1", "backbone": "resnet50"}
    drops = published_drops(dataset)
    return {p.key: (paper.published_value(1, key=p.key, **where), p.value, drops.get(p.key))
            for p in paper.published(2, **where)}  # fmt: skip
