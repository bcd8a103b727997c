"""Figure 3 of the paper: R@1 of PFML along each of its settings, ours above the published curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pfml.figures.style import QUIET, dataset_name, figure_style, line_style, new_figure, nothing, save_figure
from pfml.report.published import paper
from pfml.report.results import Summary

LEAST_RANGE = 6.0  # points of R@1 that the axes of our row span at least
SYMBOLS = {"proxies_per_class": "M", "delta": "δ", "alpha": "α", "delta_gap": "$\\delta_{rep}$ − δ"}
MOST_BELOW = 12.0  # points below the median of all; what falls deeper stands on the lower edge with its number


def ablation_panels(
    series: Mapping[str, Sequence[tuple[float, Summary]]],
    published: Mapping[str, Sequence[paper.Published]],
    path: str | Path,
    defaults: Mapping[str, float] | None = None,
) -> None:
    """Ours in the upper row (mean, bars of one standard deviation over seeds), the published curves in the lower.

    Args:
        series: axis -> (value, R@1 as a fraction over seeds), by rising value; an axis may lack some points.
        published: axis -> paper.figure3(axis).
        defaults: axis -> the value that the other panels hold fixed, marked by a dotted line.
    """
    defaults = defaults or {}
    with figure_style():
        figure = new_figure(2.75 * max(len(series), 1), 4.9)
        if not series:
            nothing(figure, "the configuration has no ablation")
        rows = figure.subplots(2, len(series), sharex="col", sharey="row", squeeze=False) if series else []
        held = {axis: measured(points) for axis, points in series.items()}
        low, high = limits([value for points in held.values() for _, value, _ in points])
        for i, axis in enumerate(sorted(series, key=lambda axis: published[axis][0].table)):
            ours, theirs = rows[0][i], rows[1][i]
            _own(ours, held[axis], low)
            for dataset in ("cars196", "cub200"):
                at = [p for p in published[axis] if p.dataset == dataset]
                label = f"{dataset_name(dataset)} (digitised)"
                theirs.plot([p.at for p in at], [p.value for p in at], label=label, **line_style(dataset))
            for panel in (ours, theirs) if axis in defaults else ():
                panel.axvline(defaults[axis], color=QUIET, linewidth=1, linestyle=":", zorder=1)
            name = paper.AXIS_NAMES[axis].replace("δ_rep", r"$\delta_{rep}$")
            ours.set_title(f"({published[axis][0].table[1]}) {finding(held[axis], SYMBOLS[axis], defaults.get(axis))}")
            theirs.set_xlabel(name)
        if series:
            rows[0][0].set_ylim(low, high)
            rows[0][0].set_ylabel("ours: R@1 (%)")
            rows[1][0].set_ylabel("published: R@1 (%)")
            rows[1][-1].legend(loc="center right", bbox_to_anchor=(1, 0.5))
        save_figure(figure, path)


def measured(points: Sequence[tuple[float, Summary]]) -> list[tuple[float, float, float]]:
    """(setting, R@1 in percent, its standard deviation or 0) of the points that have a run."""
    return [(value, 100 * s.mean, 100 * (s.std or 0)) for value, s in points if s.mean is not None]


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Ends of our R@1 axis: all values with a margin, but MOST_BELOW the median at most and LEAST_RANGE wide."""
    if not values:
        return 0.0, 100.0
    low = max(min(values), sorted(values)[len(values) // 2] - MOST_BELOW)
    room = max(LEAST_RANGE - (max(values) - low), 0) / 2 + 1.5
    return low - room, max(values) + room


def finding(points: Sequence[tuple[float, float, float]], symbol: str, default: float | None) -> str:
    """`best at M = 5: +0.7 points`, the gain over the default; points as of `measured`."""
    if not points:
        return "not run"
    at, best, _ = max(points, key=lambda point: point[1])
    text = f"best at {symbol} = {at:g}"
    base = [value for setting, value, _ in points if setting == default]
    if not base:
        return text
    return text + (", the default" if at == default else f": +{best - base[0]:.1f} points")


def _own(axes, points: Sequence[tuple[float, float, float]], low: float) -> None:
    if not points:
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", color=QUIET)
        return
    x, y, error = zip(*points)
    axes.errorbar(x, y, error, capsize=2.5, **line_style("pfml"))
    for at, value, _ in points:
        if value < low:
            text = {"textcoords": "offset points", "fontsize": 8, "ha": "right", "va": "center"}
            axes.annotate(f"{value:.1f} ", (at, low), xytext=(-4, 7), **text)
            axes.plot([at], [low], marker="v", color=line_style("pfml")["color"], markersize=9, clip_on=False, zorder=5)
