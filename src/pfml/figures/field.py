"""Figure 2 of the paper: the class potentials of two classes in the plane, with force arrows."""

from pathlib import Path

import numpy as np

from pfml.figures.style import CLASS_LOOKS, YELLOW, figure_style, new_figure, save_figure
from pfml.theory.fields import DecayingLaw, GrowingLaw, class_field
from pfml.theory.rest import settle

SPAN = 1.6  # half the width of the plane


def field_picture(path: str | Path, alpha: float = 3.0, delta: float = 0.2) -> None:
    """The class potentials of two classes in the plane, PFML beside CPML, with where proxies come to rest.

    Each class has two groups far apart and one embedding amid the other class, as a wrong label would put it. The
    field is that of the embeddings; the proxies start at the same random points under both laws. Arrow lengths are
    logarithmic: a quarter shorter for a tenth of the force.
    """
    points, labels = _two_classes()
    starts = np.random.default_rng(5).normal(0.0, 0.75, (2, 8, 2))
    laws = {"PFML": DecayingLaw(alpha, delta), "CPML": GrowingLaw(delta)}
    with figure_style():
        figure = new_figure(8.2, 8.5)
        panels = figure.subplots(2, 2, sharex=True, sharey=True)
        for column, (name, law) in zip(panels.T, laws.items()):
            rest = [_rest(starts[own], points, labels, own, law) for own in (0, 1)]
            for own, axes in enumerate(column):
                _field_panel(axes, points, labels, own, law, starts[own], rest[own])
            away = np.mean([nearest(rest[own], points[labels == own]).mean() for own in (0, 1)])
            column[0].set_title(f"{name}: proxies rest {away:.2f} from an own embedding")
        for own in (0, 1):
            panels[own][0].set_ylabel(f"field of class {own + 1}, Ψ{'₁₂'[own]}")
        handles, names = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        save_figure(figure, path)


def _field_panel(axes, points, labels, own: int, law, starts, rest) -> None:
    """One class potential as grey levels (dark is low), its force as arrows, the embeddings and the proxies."""
    fine, coarse = np.linspace(-SPAN, SPAN, 160), np.linspace(-0.94 * SPAN, 0.94 * SPAN, 16)
    plane = np.stack(np.meshgrid(fine, fine), -1)
    potential, _ = class_field(plane, points, labels, own, law)
    levels = np.linspace(*np.quantile(potential, (0.0, 0.97)), 15)  # repulsion has no upper bound
    axes.contourf(fine, fine, potential, levels, cmap="Greys_r", alpha=0.75, extend="max")
    where = np.stack(np.meshgrid(coarse, coarse), -1)
    _, force = class_field(where, points, labels, own, law)
    size = np.maximum(np.linalg.norm(force, axis=-1, keepdims=True), 1e-12)
    arrows = force / size * np.clip(1 + np.log10(size / np.quantile(size, 0.95)) / 4, 0, 1.2)
    colours = [colour for colour, _ in CLASS_LOOKS]
    axes.quiver(*where.T, *arrows.T, color=colours[own], width=0.004, scale=22, pivot="mid")
    edge = nearest(plane, points[labels == own])
    axes.contour(fine, fine, edge, [law.delta], colors="white", linewidths=1.2, linestyles="dashed")
    axes.plot([], [], "--", color="#BBBBBB", linewidth=1.2, label=f"δ = {law.delta:g} from own embeddings")
    for c in (0, 1):
        look = {"color": colours[c], "marker": CLASS_LOOKS[c][1], "edgecolor": "white", "linewidth": 0.7}
        axes.scatter(*points[labels == c].T, s=26, zorder=4, label=f"embeddings of class {c + 1}", **look)
    ring = {"facecolor": "none", "edgecolor": "black", "linewidth": 1}
    axes.scatter(*points[-2:].T, s=110, zorder=4, label="wrong label", **ring)
    star = {"marker": "*", "edgecolor": "black", "linewidth": 0.8}
    axes.scatter(*starts.T, s=14, facecolor="white", zorder=3, label="proxies at the start", **star)
    axes.scatter(*rest.T, s=120, facecolor=YELLOW, zorder=5, label="proxies at rest", **star)
    axes.set(xlim=(-SPAN, SPAN), ylim=(-SPAN, SPAN), aspect="equal", xticks=[], yticks=[])
    axes.grid(False)


def _rest(starts, points, labels, own: int, law) -> np.ndarray:
    """Where proxies come to rest in the field of class `own`."""
    return settle(starts, lambda at, _: class_field(at, points, labels, own, law)[1], step=0.02, steps=800)


def nearest(where: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance (...,) of places (..., 2) to the nearest of points (n, 2)."""
    return np.linalg.norm(where[..., None, :] - points, axis=-1).min(-1)


def _two_classes() -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, 2) and labels: per class two groups, and one stray embedding amid the other class."""
    draw = np.random.default_rng(2)
    centres = {0: [(-0.95, 0.75), (0.55, 0.95)], 1: [(-0.7, -0.85), (0.95, -0.5)]}
    groups = [(c, draw.normal(centre, 0.13, (5, 2))) for c, places in centres.items() for centre in places]
    groups += [(0, np.array([[0.75, -0.85]])), (1, np.array([[-0.6, 0.45]]))]
    points = np.concatenate([group for _, group in groups])
    return points, np.concatenate([np.full(len(group), c) for c, group in groups])
