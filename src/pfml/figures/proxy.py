"""Proxies among the training embeddings that they stand for, in two principal components, a panel per method.

Methods and classes are chosen by rule, never by result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pfml.evaluation.trained import Trained, class_names, evenly_spaced, read_trained, runs_of
from pfml.figures.style import CLASS_LOOKS, QUIET, figure_style, literal, method_name, new_figure, nothing, save_figure
from pfml.report.names import share
from pfml.settings.run import Run
from pfml.wasserstein import class_wasserstein

CLASSES = 4  # evenly spaced training classes
METHODS = ("pfml", "cpml", "soft_triple", "proxy_anchor")

GLYPHS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}  # the markers in words
NAME = 40  # letters of a class name in the legend


@dataclass(frozen=True)
class Shown:
    """What one run has of the chosen classes: unit embeddings (n, D), given and true labels (n,), proxies of each class
    (M, D) as the loss uses them, and their W2.
    """

    method: str
    noise: float
    embeddings: np.ndarray
    labels: np.ndarray
    true_labels: np.ndarray
    proxies: Mapping[int, np.ndarray]
    w2: Mapping[int, float | None]


def proxy_view(grid: Sequence[Run], dataset: str) -> tuple[list[Shown], dict[int, str]]:
    """Arguments of proxy_figure: METHODS, as far as they are in the grid and have proxies, at its lowest and its
    highest noise, first seed.

    Raises:
        ValueError: a run belongs to another configuration.
    """
    noises = sorted({run.noise for run in grid if run.dataset == dataset})
    runs = [runs_of(grid, dataset, noise) for noise in dict.fromkeys(noises[:1] + noises[-1:])]
    networks = [read_trained(found[method]) for found in runs for method in METHODS if method in found]
    networks = [trained for trained in networks if trained.proxies.size]
    if not networks:
        return [], {}
    names = class_names(networks[0])
    classes = [int(c) for c in evenly_spaced(networks[0].true_labels, CLASSES)]
    return [_shown(trained, classes) for trained in networks], {c: names[c] for c in classes}


def _shown(trained: Trained, classes: Sequence[int]) -> Shown:
    rows = np.isin(trained.labels, classes)
    w2 = {}
    for c in classes:
        own = trained.train[trained.labels == c]
        enough = len(own) >= trained.proxies.shape[1]  # the distance pairs every proxy with an embedding of its own
        w2[c] = class_wasserstein(trained.proxies[c], own) if enough else None
    return Shown(
        trained.run.method, float(trained.run.noise), trained.train[rows], trained.labels[rows],
        trained.true_labels[rows], {c: trained.proxies[c] for c in classes}, w2,
    )  # fmt: skip


def proxy_figure(runs: Sequence[Shown], names: Mapping[int, str], path: str | Path) -> None:
    """A column per method, a row per noise level, in every panel the same classes; axes of each panel are the principal
    components of its own embeddings. Proxies are large open marks, images with a wrong label have a black cross.

    Args:
        runs: with one set of classes, at most len(CLASS_LOOKS). names: class -> its name.
    """
    methods, noises = list(dict.fromkeys(r.method for r in runs)), sorted({r.noise for r in runs})
    with figure_style():
        figure = new_figure(3.0 * max(len(methods), 1.6), 3.2 * max(len(noises), 1) + 0.7)
        if not runs:
            nothing(figure, "no method with proxies in the grid")
        panels = figure.subplots(len(noises), len(methods), squeeze=False) if runs else []
        for row, noise in zip(panels, noises):
            for axes, method in zip(row, methods):
                found = [r for r in runs if (r.method, r.noise) == (method, noise)]
                if found:
                    _panel(axes, found[0], list(names))
                else:
                    axes.text(0.5, 0.5, "no such run", transform=axes.transAxes, ha="center", color=QUIET)
            row[0].set_ylabel("clean labels" if noise == 0 else f"{share(noise)} wrong labels")
        if runs:
            _legend(figure, names)
        save_figure(figure, path)


def components(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Centre (D,) of points (n, D), their two principal directions (2, D) and the share of variance along these.

    The sign of each direction is such that its largest entry is positive.
    """
    centre = points.mean(0)
    _, lengths, ways = np.linalg.svd(points - centre, full_matrices=False)
    ways = ways[:2] * np.sign(ways[:2][np.arange(len(ways[:2])), np.abs(ways[:2]).argmax(1)])[:, None]
    return centre, ways, float((lengths[:2] ** 2).sum() / max((lengths**2).sum(), 1e-300))


def title(run: Shown, classes: Sequence[int]) -> str:
    """`PFML: W2 ● 0.12 ■ 0.15`."""
    values = ["–" if run.w2[c] is None else f"{run.w2[c]:.2f}" for c in classes]
    marks = [GLYPHS[marker] for _, marker in CLASS_LOOKS]
    return f"{method_name(run.method)}: $W_2$ " + "  ".join(f"{m} {v}" for m, v in zip(marks, values))


def _panel(axes, run: Shown, classes: Sequence[int]) -> None:
    centre, ways, kept = components(run.embeddings)
    for c, (colour, marker) in zip(classes, CLASS_LOOKS):
        at = (run.embeddings[run.labels == c] - centre) @ ways.T
        axes.scatter(*at.T, s=13, color=colour, marker=marker, alpha=0.55, linewidth=0, zorder=2)
        proxies = (run.proxies[c] - centre) @ ways.T
        look = {"s": 110 if len(proxies) < 3 else 55, "facecolor": "white", "marker": marker}
        axes.scatter(*proxies.T, edgecolor="black", linewidth=2.6, zorder=3, **look)
        axes.scatter(*proxies.T, edgecolor=colour, linewidth=1.4, zorder=4, **look)
    wrong = (run.embeddings[run.labels != run.true_labels] - centre) @ ways.T
    axes.scatter(*wrong.T, s=14, color="black", marker="x", linewidth=0.8, zorder=2)
    axes.set_title(title(run, classes), fontsize=8.5)
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    axes.grid(False)
    axes.text(0.99, 0.01, f"{100 * kept:.0f} % of variance", transform=axes.transAxes, ha="right", va="bottom",
              fontsize=7, color=QUIET)  # fmt: skip


def _legend(figure, names: Mapping[int, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=colour,
            marker=marker,
            linestyle="none",
            label=literal(name if len(name) <= NAME else f"{name[:NAME]}…"),
        )
        for name, (colour, marker) in zip(names.values(), CLASS_LOOKS)
    ]
    open_mark = {"markerfacecolor": "white", "markeredgecolor": "black", "markersize": 9, "linestyle": "none"}
    handles.append(Line2D([], [], marker="o", label="proxy", **open_mark))
    handles.append(Line2D([], [], color="black", marker="x", linestyle="none", label="wrong label"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
