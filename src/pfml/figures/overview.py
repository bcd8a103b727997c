"""Figure 1 of the paper: from a batch and its proxies to potentials, forces and a step."""

from pathlib import Path

import numpy as np

from pfml.figures.style import CLASS_LOOKS, figure_style, frame, new_figure, save_figure

LARGE, SMALL, GAP = 3.1, 0.98, 0.62  # inches: sides of the panels, and between them
REACH = 0.16  # length of the arrow of the largest force
LEFT, BOTTOM, TOP = 0.08, 0.42, 0.3  # inches: margins


def overview_figure(scene, path: str | Path) -> None:
    """Four stages from left to right: points, the potential of each class, the forces, where steps along them lead.

    Args:
        scene: a pfml.views.overview.Overview. The patch of the sphere is seen from above; lengths of force arrows are
            logarithmic.
    """
    low, high = scene.path[..., :2].min((0, 1)), scene.path[..., :2].max((0, 1))
    middle, half = (low + high) / 2, (high - low).max() * 0.55
    size = (LEFT * 2 + LARGE * 3 + SMALL + GAP * 3 + 0.12, BOTTOM + LARGE + TOP)
    starts = (LEFT, LEFT + LARGE + GAP + 0.12, LEFT + LARGE + SMALL + 2 * GAP + 0.12)
    starts = (*starts, starts[-1] + LARGE + GAP)
    with figure_style():
        figure = new_figure(*size, layout=None)

        def place(left, bottom, side):
            axes = figure.add_axes((left / size[0], bottom / size[1], side / size[0], side / size[1]))
            axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
            frame(axes, "#BBBBBB", 0.8)
            return axes

        points, forces, steps = (place(starts[i], BOTTOM, LARGE) for i in (0, 2, 3))
        count = len(np.unique(scene.labels))
        rise = (LARGE - SMALL) / max(count - 1, 1)
        for own in range(count):
            _potential(place(starts[1], BOTTOM + LARGE - SMALL - own * rise, SMALL), scene, own)
        batch, proxies, last = int((~scene.proxy).sum()), int(scene.proxy.sum()), len(scene.path) - 1
        before, after = (f"{100 * scene.own_nearest(step):.0f} %" for step in (0, last))
        titles = (
            f"1  A batch of {batch} and {proxies} proxies",
            "2  Potentials",
            f"3  Forces: the largest {_ratio(scene):,.0f} × the median",
            f"4  {last} steps: own class nearest, {before} → {after}",
        )
        for start, title in zip(starts, titles):
            figure.text(start / size[0], 1 - (TOP - 0.1) / size[1], title, fontsize=9.5)
        for start, word in zip(starts[1:], ("Eqs. 3–5", "−∂U/∂z", "optimiser")):
            shift = 0.12 if start == starts[1] else 0.0
            _arrow(figure, (start - GAP - shift + 0.06) / size[0], (start - 0.1 - shift) / size[0], word, size)
        _points(points, scene, scene.points)
        _forces(forces, scene)
        _steps(steps, scene)
        handles, names = points.get_legend_handles_labels()
        figure.legend(handles, names, loc="lower center", ncols=len(handles), columnspacing=1.6)
        save_figure(figure, path)


def _arrow(figure, left: float, right: float, word: str, size) -> None:
    """From one stage to the next, with what leads there."""
    from matplotlib.patches import FancyArrowPatch

    y = (BOTTOM + LARGE / 2) / size[1]
    look = {"arrowstyle": "simple,head_width=9,head_length=8,tail_width=3", "color": "#555555", "linewidth": 0}
    figure.add_artist(FancyArrowPatch((left, y), (right, y), transform=figure.transFigure, **look))
    figure.text((left + right) / 2, y + 0.12 / size[1], word, fontsize=7.5, ha="center", va="bottom")


def _ratio(scene) -> float:
    lengths = np.linalg.norm(scene.force, axis=1)
    return lengths.max() / max(np.median(lengths), 1e-12)


def _points(axes, scene, at: np.ndarray, faint: bool = False) -> None:
    """Embeddings as filled markers, proxies as larger open ones with a dot, a shape and colour per class."""
    for c in np.unique(scene.labels):
        colour, marker = CLASS_LOOKS[c]
        own = at[(scene.labels == c) & ~scene.proxy]
        look = {"marker": marker, "zorder": 3, "alpha": 0.3 if faint else 1}
        axes.scatter(own[:, 0], own[:, 1], s=34, color=colour, edgecolor="white", linewidth=0.5,
                     label=f"embeddings of class {c + 1}", **look)  # fmt: skip
    for c in np.unique(scene.labels):
        colour, marker = CLASS_LOOKS[c]
        own = at[(scene.labels == c) & scene.proxy]
        look = {"marker": marker, "zorder": 4, "alpha": 0.3 if faint else 1}
        axes.scatter(own[:, 0], own[:, 1], s=105, facecolor="none", edgecolor=colour, linewidth=1.8,
                     label=f"proxies of class {c + 1}", **look)  # fmt: skip


def _potential(axes, scene, own: int) -> None:
    """One class potential as grey levels, dark is low, with its own points."""
    ticks, potential = scene.potential(own)
    levels = np.linspace(*np.quantile(potential, (0.0, 0.93)), 12)  # repulsion has no upper bound
    axes.contourf(ticks, ticks, potential, levels, cmap="Greys_r", alpha=0.8, extend="max")
    for c in np.unique(scene.labels):
        colour, marker = CLASS_LOOKS[c]
        at = scene.points[scene.labels == c]
        axes.scatter(at[:, 0], at[:, 1], s=5, color=colour, marker=marker, linewidth=0)
    axes.text(0.04, 0.95, f"Ψ{'₁₂₃₄₅₆'[own]}", transform=axes.transAxes, va="top", fontsize=9,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip


def _forces(axes, scene) -> None:
    _points(axes, scene, scene.points, faint=True)
    size = np.linalg.norm(scene.force, axis=1, keepdims=True)
    largest = max(size.max(), 1e-300)
    length = REACH * np.clip(1 + np.log10(np.maximum(size / largest, 1e-12)) / 5, 0, 1)
    arrows = scene.force / np.maximum(size, 1e-300) * length
    for c in np.unique(scene.labels):
        own = scene.labels == c
        axes.quiver(*scene.points[own, :2].T, *arrows[own, :2].T, color=CLASS_LOOKS[c][0], width=0.007,
                    angles="xy", scale_units="xy", scale=1, zorder=5)  # fmt: skip


def _steps(axes, scene) -> None:
    for i, c in enumerate(scene.labels):
        axes.plot(*scene.path[:, i, :2].T, color=CLASS_LOOKS[c][0], linewidth=0.8, alpha=0.6)
    _points(axes, scene, scene.path[-1])
