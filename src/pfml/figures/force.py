"""Force against distance of every loss: a panel each with its attraction and its repulsion, by kind of source."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pfml.figures.style import BLUE, ORANGE, figure_style, heading, new_figure, nothing, save_figure

GROUPS = {
    "field": "Fields of all points",
    "pair": "Between embeddings",
    "proxy": "Between an embedding and the proxies of a class",
}
LOOKS = {  # dark, light and thin on top: both are seen where they coincide, and in grey
    "attraction": {"color": BLUE, "linestyle": "-", "linewidth": 1.9},
    "repulsion": {"color": ORANGE, "linestyle": "--", "linewidth": 1.3},
}
TRENDS = {  # of an attraction: one, many, mark
    "falls": ("falls", "fall", "↘"),
    "stays": ("stays", "stay", "→"),
    "grows": ("grows", "grow", "↗"),
    "ends": ("ends", "end", "–"),
}
COLUMNS = 8
NEAR, FAR = 0.3, 1.2  # distances between which a force is said to grow or to fall
FACTOR = 2.0  # by which it must, or it is said to stay
LOWEST = 1e-4  # of the axis, as a share of the largest force
ENDED = 1e-6  # share of the largest force below which a repulsion has ended
TICKS = (0.05, 0.2, 0.5, 1, 2)


def force_figure(curves: Sequence, distances: np.ndarray, path: str | Path, not_drawn: Sequence[str] = ()) -> None:
    """Every curve as a share of its largest force: losses have units of their own. Both axes are logarithmic, so that
    a power of the distance is a straight line. What has no force has no line.

    Args:
        curves: with label, source (a key of GROUPS), kind and force (n,), as of pfml.views.forces.
        distances: (n,) chords.
        not_drawn: names of losses without curves, to be said below the figure.
    """
    from matplotlib.lines import Line2D

    groups = [(text, [c for c in curves if c.source == source]) for source, text in GROUPS.items()]
    groups = [(text, members) for text, members in groups if members]
    rows = [math.ceil(len(_labels(members)) / COLUMNS) for _, members in groups]
    with figure_style():
        figure = new_figure(11.4, 1.0 + 0.4 * len(rows) + 1.35 * sum(rows))
        if not curves:
            nothing(figure, "none in params.yaml")
            return save_figure(figure, path)
        parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=[n + 0.3 for n in rows])[:, 0]
        for part, n, (text, members) in zip(parts, rows, groups):
            _panels(part, n, members, distances)
            found = (
                f"{kind.title()}: {finding([c for c in members if c.kind == kind], distances, kind)}" for kind in LOOKS
            )
            part.suptitle(f"{text}. {'. '.join(found)}", x=0.04 / figure.get_figwidth(), ha="left", fontsize=9)
        lines = [Line2D([], [], label=f"{kind} / its largest", **look) for kind, look in LOOKS.items()]
        note = "over the distance d on the unit sphere (chord)"
        if not_drawn:
            note += f"; not drawn: {', '.join(not_drawn)}"
        figure.legend(handles=[*lines, Line2D([], [], linestyle="", label=note)], loc="outside lower center", ncols=3)
        heading(figure, overall(curves, distances))
        save_figure(figure, path)


def size(curve) -> np.ndarray:
    """A force in its direction, as a share of its largest; the other direction counts as none."""
    force = np.maximum(curve.force if curve.kind == "attraction" else -curve.force, 0)
    return force / force.max() if force.max() > 0 else force


def trend(curve, distances: np.ndarray) -> str:
    """Whether a force `falls`, `grows` or `stays` (within FACTOR) from NEAR to FAR, or `ends` where neither has any."""
    near, far = np.interp((NEAR, FAR), distances, size(curve))
    if near == far == 0:
        return "ends"
    return "grows" if far > FACTOR * near else "falls" if near > FACTOR * far else "stays"


def overall(curves: Sequence, distances: np.ndarray) -> str:
    """Which attractions fall with distance, by method, and what those of the others do."""
    found = {}
    for curve in (c for c in curves if c.kind == "attraction"):
        found.setdefault(curve.label.split(",")[0], []).append(trend(curve, distances))
    falling = [name for name, trends in found.items() if "falls" in trends]
    others = [trends[0] for name, trends in found.items() if name not in falling]
    names = " and ".join(filter(None, (", ".join(falling[:-1]), *falling[-1:])))
    parts = [f"falls with distance for {f'{names} alone' if falling else 'no loss'}"]
    parts += [f"{key} for {others.count(key)}" for key in ("grows", "stays", "ends") if key in others]
    return f"Attraction {', '.join(parts)} (over {FACTOR:g}-fold from d = {NEAR:g} to {FAR:g})"


def finding(curves: Sequence, distances: np.ndarray, kind: str) -> str:
    """`4 grow, 2 stay` of attractions; how far repulsions reach."""
    if not curves:
        return "none"
    if kind == "repulsion":
        ends = [f"{distances[size(c) >= ENDED].max(initial=0.0):.1f}" for c in curves]
        low, high = min(ends, key=float), max(ends, key=float)
        return f"reaches to d = {low}" + (f" and up to {high}" if high != low else "")
    trends = [trend(c, distances) for c in curves]
    counts = [(trends.count(key), one, many) for key, (one, many, _) in TRENDS.items() if key in trends]
    return ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts)


def _labels(curves: Sequence) -> list[str]:
    return list(dict.fromkeys(c.label for c in curves))


def _panels(part, rows: int, curves: Sequence, distances: np.ndarray) -> None:
    """A panel for each label."""
    from matplotlib.ticker import NullLocator

    labels = _labels(curves)
    for i, (axes, label) in enumerate(zip(part.subplots(rows, COLUMNS).flat, labels)):
        mark = ""
        for curve in (c for c in curves if c.label == label):
            share = size(curve)
            axes.plot(distances, np.where(share > 0, share, np.nan), **LOOKS[curve.kind])
            mark = TRENDS[trend(curve, distances)][2] if curve.kind == "attraction" else mark
        axes.set_title(f"{label} {mark}", fontsize=8)
        axes.set(xscale="log", yscale="log", xlim=(distances[0], 2), ylim=(LOWEST, 1.6))
        axes.set_xticks(TICKS, [f"{t:g}" for t in TICKS])
        axes.set_yticks((1e-4, 1e-2, 1))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=7, labelleft=i % COLUMNS == 0, labelbottom=i + COLUMNS >= len(labels))
    for axes in part.axes[len(labels) :]:
        axes.set_axis_off()
