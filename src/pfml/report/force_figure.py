"""Force against distance of every loss of pairs: attraction above, repulsion below, a column per kind of source."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pfml.report.style import DASHES, MARKERS, QUIET, figure_style, heading, line_style, new_figure, save_figure

COLUMNS = {
    "field": "fields of all points",
    "pair": "pairs of embeddings",
    "proxy": "embedding and proxy",
}
NEAR, FAR = 0.3, 1.2  # distances between which a force is said to grow or to fall
FACTOR = 2.0  # by which it must, or it is said to stay
LOWEST = 1e-4  # of the axis, as a share of the largest force
ENDED = 1e-6  # share of the largest force below which a repulsion has ended


def force_figure(curves: Sequence, distances: np.ndarray, path: str | Path) -> None:
    """Every curve as a share of its largest force: losses have units of their own. Both axes are logarithmic, so that
    a power of the distance is a straight line. What has no force has no line.

    Args:
        curves: with method, label, source (a key of COLUMNS), kind, force (n,) and alpha, as of pfml.forces.
        distances: (n,) chords.
    """
    from matplotlib.ticker import NullLocator

    with figure_style():
        figure = new_figure(11.4, 6.6)
        panels = figure.subplots(2, 3, sharex=True, sharey=True)
        for row, kind in zip(panels, ("attraction", "repulsion")):
            for axes, (source, where) in zip(row, COLUMNS.items()):
                here = [c for c in curves if (c.source, c.kind) == (source, kind)]
                _curves(axes, here, distances)
                axes.set_title(f"{where}: {finding(here, distances, kind)}", fontsize=9)
        for axes in panels[1]:
            axes.set_xlabel("distance d on the unit sphere (chord)")
            handles, labels = axes.get_legend_handles_labels()
            axes.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, handlelength=3.2)
        panels[0][0].set(xscale="log", yscale="log", ylim=(LOWEST, 1.6), xlim=(distances[0], 2))
        ticks = (0.05, 0.1, 0.2, 0.5, 1, 2)
        panels[0][0].set_xticks(ticks, [f"{t:g}" for t in ticks])
        panels[0][0].xaxis.set_minor_locator(NullLocator())
        panels[0][0].set_ylabel("attraction / its largest")
        panels[1][0].set_ylabel("repulsion / its largest")
        heading(figure, overall(curves, distances))
        save_figure(figure, path)


def size(curve) -> np.ndarray:
    """A force in its direction, as a share of its largest; the other direction counts as none."""
    force = np.maximum(curve.force if curve.kind == "attraction" else -curve.force, 0)
    return force / force.max() if force.max() > 0 else force


def trend(curve, distances: np.ndarray) -> str:
    """Whether a force `falls`, `grows` or `stays` (within FACTOR) from NEAR to FAR."""
    near, far = np.interp((NEAR, FAR), distances, size(curve))
    return "grows" if far > FACTOR * near else "falls" if near > FACTOR * far else "stays"


def overall(curves: Sequence, distances: np.ndarray) -> str:
    """Which attractions fall with distance, by method."""
    pulls = [c for c in curves if c.kind == "attraction"]
    falling = list(dict.fromkeys(c.label.split(",")[0] for c in pulls if trend(c, distances) == "falls"))
    names = ", ".join(falling) if falling else "no loss"
    return f"Attraction that falls with distance (over {FACTOR:g}-fold from d = {NEAR:g} to {FAR:g}): {names}"


def finding(curves: Sequence, distances: np.ndarray, kind: str) -> str:
    """`4 grow, 2 stay` of attractions; how far repulsions reach."""
    if not curves:
        return "none in params.yaml"
    if kind == "repulsion":
        ends = [f"{distances[size(c) >= ENDED].max(initial=0.0):.1f}" for c in curves]
        low, high = min(ends, key=float), max(ends, key=float)
        return f"reaches to d = {low}" + (f" and up to {high}" if high != low else "")
    trends = [trend(c, distances) for c in curves]
    words = {"grows": ("grows", "grow"), "stays": ("stays", "stay"), "falls": ("falls", "fall")}
    counts = [(trends.count(key), words[key]) for key in ("falls", "stays", "grows") if key in trends]
    return ", ".join(f"{n} {one if n == 1 else many}" for n, (one, many) in counts)


def _curves(axes, curves: Sequence, distances: np.ndarray) -> None:
    import matplotlib

    swept = [c.alpha for c in curves if c.method == "pfml"]
    for i, curve in enumerate(curves):
        look = line_style(curve.method)
        if curve.method == "pfml" and len(swept) > 1:  # from light to dark with the decay
            grade = matplotlib.colormaps["cividis"](0.9 - 0.9 * swept.index(curve.alpha) / (len(swept) - 1))
            look |= line_style("cpml") | {"color": grade, "marker": MARKERS[i % 8], "linestyle": DASHES[i % 4]}
        share = size(curve)
        every = (4 + 3 * (i % 5), 16)  # markers of two lines do not cover each other
        axes.plot(distances, np.where(share > 0, share, np.nan), label=curve.label, markevery=every, **look)
    if not curves:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=QUIET)
