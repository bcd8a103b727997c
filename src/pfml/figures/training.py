"""Training curves: test R@1 and training loss over epochs, a column per noise level, a line per method."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pfml.figures.style import dataset_name, figure_style, line_style, method_name, new_figure, nothing, save_figure
from pfml.report.names import share

LINE = 0.155  # inches: least distance of two names at the ends of their lines
NAMES = 0.28  # inches of the figure's height that each name needs: the upper row has two thirds of it
History = tuple[str, float, list[dict]]


def training_curves(histories: Mapping[str, Sequence[History]], path: str | Path) -> None:
    """Test R@1 above, training loss below, a column for each dataset and noise; means over seeds, the band from lowest
    to highest.

    Losses have units of their own and start anywhere: each is drawn as a share of its first epoch, on a logarithmic
    axis where all are positive.

    Args:
        histories: dataset -> (method, noise, rows with epoch, loss and recall@1) per run; recall@1 None in epochs
            without evaluation. No histories give a figure that says so.
    """
    places = [(name, noise) for name, runs in histories.items() for noise in sorted({noise for _, noise, _ in runs})]
    methods = {method for runs in histories.values() for method, _, _ in runs}
    with figure_style():
        figure = new_figure(4.6 * max(len(places), 1) + 0.6, max(5.6, NAMES * len(methods)))
        if not places:
            nothing(figure, "no finished run of the present configuration")
        grid = {"sharey": "row", "sharex": "col", "squeeze": False, "height_ratios": [2, 1]}
        rows = figure.subplots(2, len(places), **grid) if places else ()
        for column, (name, noise) in enumerate(places):
            here = [h for h in histories[name] if h[1] == noise]
            ends = _curves(rows[0][column], here, _percent)
            ends_labelled(rows[0][column], ends)
            _curves(rows[1][column], here, _relative_loss)
            where = f"{dataset_name(name)}, " if len(histories) > 1 else ""
            title = finding(noise, {method: value for value, _, method, _ in ends})
            rows[0][column].set_title(where + title, pad=12)
            rows[1][column].set_xlabel("epoch")
            rows[1][column].xaxis.get_major_locator().set_params(integer=True)
        if places:
            rows[0][0].set_ylabel("R@1 on unseen classes (%)")
            rows[1][0].set_ylabel("loss / first epoch's")
            if all(y > 0 for axes in rows[1] for line in axes.lines for y in line.get_ydata()):
                rows[1][0].set_yscale("log")
            figure.get_layout_engine().set(wspace=0.04)
        save_figure(figure, path)


def finding(noise: float, ends: dict[str, float]) -> str:
    """`clean labels: Multi-Similarity ends highest, 77.0 %; PFML 70.5 %`. ends: method -> last R@1 in percent."""
    where = "clean labels" if noise == 0 else f"{share(noise)} wrong labels"
    if not ends:
        return where
    best = max(ends, key=ends.get)
    text = f"{where}: {method_name(best)} ends highest, {ends[best]:.1f} %"
    return text if best == "pfml" or "pfml" not in ends else f"{text}; {method_name('pfml')} {ends['pfml']:.1f} %"


def _curves(axes, histories: Sequence[History], measure) -> list:
    """Draws a line per method; returns (last value, its epoch, method, look) of each."""
    ends = []
    for method in dict.fromkeys(m for m, _, _ in histories):
        epochs, low, mean, high = _band([measure(rows) for m, _, rows in histories if m == method])
        if not epochs:
            continue
        look, ours = line_style(method), method.startswith("pfml")
        axes.plot(epochs, mean, **look, markevery=max(1, len(epochs) // 12), zorder=4 if ours else 3)
        if any(a < b for a, b in zip(low, high)):
            axes.fill_between(epochs, low, high, color=look["color"], alpha=0.15, linewidth=0)
        ends.append((mean[-1], epochs[-1], method, look))
    return ends


def _column(rows: list[dict], name: str) -> dict[int, float]:
    """Epoch -> value, of the epochs that have one."""
    return {int(r["epoch"]): r[name] for r in rows if r.get(name) is not None}


def _percent(rows: list[dict]) -> dict[int, float]:
    return {epoch: 100 * value for epoch, value in _column(rows, "recall@1").items()}


def _relative_loss(rows: list[dict]) -> dict[int, float]:
    """Epoch -> loss as a share of the first one; nothing where the first is 0 or missing."""
    held = _column(rows, "loss")
    first = held[min(held)] if held else 0
    return {epoch: loss / first for epoch, loss in held.items()} if first else {}


def _band(curves: Sequence[dict[int, float]]) -> tuple[list, list, list, list]:
    """Epochs that every run measured, with lowest, mean and highest value."""
    epochs = sorted(set.intersection(*map(set, curves)))
    columns = [[curve[e] for curve in curves] for e in epochs]
    return epochs, [min(c) for c in columns], [sum(c) / len(c) for c in columns], [max(c) for c in columns]


def mean_curve(histories: Sequence[History], column: str) -> dict[int, float]:
    """Epoch -> a column of the histories, mean over the runs, of the epochs that all of them measured."""
    if not histories:
        return {}
    epochs, _, mean, _ = _band([_column(rows, column) for _, _, rows in histories])
    return dict(zip(epochs, mean))


def ends_labelled(axes, ends: list) -> None:
    """Names at the right of the lines, highest on top, pushed apart where they would overlap.

    Args:
        ends: (last value, its epoch, method, its line_style) of each line.
    """
    if not ends:
        return
    low, high = axes.get_ylim()
    ends = sorted(ends, key=lambda end: -end[0])
    axes.figure.draw_without_rendering()  # the layout decides how high the axes are
    inches = axes.get_window_extent().height / axes.figure.dpi
    heights = spread_out([end[0] for end in ends], LINE * (high - low) / inches, high)
    for (value, epoch, method, look), height in zip(ends, heights):
        thread = {"arrowstyle": "-", "color": look["color"], "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
        place = {"textcoords": axes.get_yaxis_transform(), "annotation_clip": False}
        axes.annotate("", xy=(epoch, value), xytext=(1.035, height), arrowprops=thread, **place)
        axes.plot(1.045, height, transform=axes.get_yaxis_transform(), clip_on=False, **look)
        axes.annotate(f"{method_name(method)} {value:.1f}", (1.065, height), (1.065, height), fontsize=8, va="center",
                      xycoords=axes.get_yaxis_transform(), **place)  # fmt: skip
    axes.set_ylim(low, high)


def spread_out(values: Sequence[float], gap: float, top: float) -> list[float]:
    """Falling positions at least `gap` apart and at most `top`, as near to the falling `values` as that allows (least
    squares, then shifted down as a whole where the first would stand too high)."""
    groups: list[list[float]] = []  # values moved up by the gaps before them; a group shares their mean
    for i, value in enumerate(values):
        groups.append([value + i * gap])
        while len(groups) > 1 and sum(groups[-1]) / len(groups[-1]) > sum(groups[-2]) / len(groups[-2]):
            last = groups.pop()
            groups[-1] += last
    level = [min(sum(group) / len(group), top) for group in groups for _ in group]
    return [height - i * gap for i, height in enumerate(level)]
