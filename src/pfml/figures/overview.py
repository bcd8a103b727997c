"""Figure 1 of the paper: from a batch and its proxies to potentials, forces and a step.

The scene is a batch and its proxies on a patch of the unit sphere in R^3, moved by the loss itself. The package's own
functions compute all of it: `PotentialFieldLoss` draws the proxies, the gradient of its energy is the force, an
optimizer of torch takes the steps, and `pfml.theory.fields.class_field` is the potential between the points. Only the
embeddings are drawn at random: no network makes them, they are free points here.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pfml.figures.style import CLASS_LOOKS, figure_style, frame, new_figure, save_figure
from pfml.losses import PotentialFieldLoss
from pfml.theory.fields import DecayingLaw, class_field

CLASSES, BATCH, PROXIES = 3, 8, 3  # classes, embeddings a class in the batch, proxies a class
GROUPS = (((-0.4, 0.22), (0.2, 0.4)), ((0.38, 0.02),), ((-0.28, -0.25), (0.15, -0.36)))  # centres of each class
WIDTH, SEED = 0.12, 3
STEPS, RATE = 40, 0.01  # of Adam
PATCH = 0.88  # half the side of the patch seen from above

LARGE, SMALL, GAP = 3.1, 0.98, 0.62  # inches: sides of the panels, and between them
REACH = 0.16  # length of the arrow of the largest force
LEFT, BOTTOM, TOP = 0.08, 0.42, 0.3  # inches: margins


@dataclass(frozen=True)
class Overview:
    """points (n, 3): the batch, then all proxies; labels (n,); proxy (n,) bool; force (n, 3): -dU/dpoint along the
    sphere; path (STEPS + 1, n, 3): where the steps lead; energy (STEPS + 1,).
    """

    law: DecayingLaw
    points: np.ndarray
    labels: np.ndarray
    proxy: np.ndarray
    force: np.ndarray
    path: np.ndarray
    energy: np.ndarray

    def potential(self, own: int, cells: int = 120) -> tuple[np.ndarray, np.ndarray]:
        """Ticks (cells,) of the patch, and Psi_own (cells, cells) on it."""
        ticks = np.linspace(-PATCH, PATCH, cells)
        plane = np.stack(np.meshgrid(ticks, ticks), -1)
        height = np.sqrt(np.maximum(1 - (plane**2).sum(-1), 0))[..., None]
        return ticks, class_field(np.concatenate([plane, height], -1), self.points, self.labels, own, self.law)[0]

    def own_nearest(self, step: int) -> float:
        """Share of the points whose nearest other point is of their class."""
        at = self.path[step]
        distance = np.linalg.norm(at[:, None] - at, axis=-1) + np.diag(np.full(len(at), np.inf))
        return float((self.labels[distance.argmin(1)] == self.labels).mean())


def overview(alpha: float = 3.0, delta: float = 0.2) -> Overview:
    """Draws the scene and lets the loss move it; the same every time."""
    embeddings, labels = _training_set()
    draw = torch.Generator().manual_seed(SEED)
    loss = PotentialFieldLoss(CLASSES, 3, PROXIES, alpha, delta, proxy_init="data").double()
    loss.initialize_proxies(torch.from_numpy(embeddings), torch.from_numpy(labels), draw)
    batch = np.concatenate([np.flatnonzero(labels == c)[::2][:BATCH] for c in range(CLASSES)])
    free = torch.nn.Parameter(torch.from_numpy(embeddings[batch]))
    classes = torch.from_numpy(labels[batch])
    optimizer = torch.optim.Adam([{"params": [free]}, {"params": loss.parameters(), "lr": RATE * 3**0.5}], lr=RATE)
    path, energies, force = [_positions(free, loss)], [], None
    for _ in range(STEPS + 1):
        energy = loss(free, classes)
        energies.append(energy.item())
        optimizer.zero_grad()
        energy.backward()
        if force is None:
            scale = loss.proxies.detach().norm(dim=2, keepdim=True)  # from a proxy to its direction, which acts
            force = -torch.cat([free.grad, (loss.proxies.grad * scale).flatten(0, 1)]).numpy().copy()
        optimizer.step()
        path.append(_positions(free, loss))
    return Overview(
        law=DecayingLaw(alpha, delta), points=path[0], force=force, path=np.array(path[: STEPS + 1]),
        labels=np.concatenate([labels[batch], np.repeat(np.arange(CLASSES), PROXIES)]),
        proxy=np.arange(len(path[0])) >= len(batch), energy=np.array(energies),
    )  # fmt: skip


def _training_set() -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, 3) on the patch and labels (n,): 2 BATCH a class, spread evenly over its groups."""
    draw, found, labels = np.random.default_rng(SEED), [], []
    for label, centres in enumerate(GROUPS):
        near = np.array(centres)[np.arange(2 * BATCH) // 2 % len(centres)]
        flat = near + draw.normal(0, WIDTH, near.shape)
        found.append(np.concatenate([flat, np.sqrt(1 - (flat**2).sum(1, keepdims=True))], 1))
        labels.append(np.full(len(near), label))
    return np.concatenate(found), np.concatenate(labels)


def _positions(free: torch.Tensor, loss: PotentialFieldLoss) -> np.ndarray:
    both = torch.cat([free, loss.proxies.flatten(0, 1)]).detach()
    return torch.nn.functional.normalize(both, dim=1).numpy().copy()


def overview_figure(scene: Overview, path: str | Path) -> None:
    """Four stages from left to right: points, the potential of each class, the forces, where steps along them lead.

    The patch of the sphere is seen from above; lengths of force arrows are logarithmic.
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


def _ratio(scene: Overview) -> float:
    lengths = np.linalg.norm(scene.force, axis=1)
    return lengths.max() / max(np.median(lengths), 1e-12)


def _points(axes, scene: Overview, at: np.ndarray, faint: bool = False) -> None:
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


def _potential(axes, scene: Overview, own: int) -> None:
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


def _forces(axes, scene: Overview) -> None:
    _points(axes, scene, scene.points, faint=True)
    size = np.linalg.norm(scene.force, axis=1, keepdims=True)
    largest = max(size.max(), 1e-300)
    length = REACH * np.clip(1 + np.log10(np.maximum(size / largest, 1e-12)) / 5, 0, 1)
    arrows = scene.force / np.maximum(size, 1e-300) * length
    for c in np.unique(scene.labels):
        own = scene.labels == c
        axes.quiver(*scene.points[own, :2].T, *arrows[own, :2].T, color=CLASS_LOOKS[c][0], width=0.007,
                    angles="xy", scale_units="xy", scale=1, zorder=5)  # fmt: skip


def _steps(axes, scene: Overview) -> None:
    for i, c in enumerate(scene.labels):
        axes.plot(*scene.path[:, i, :2].T, color=CLASS_LOOKS[c][0], linewidth=0.8, alpha=0.6)
    _points(axes, scene, scene.path[-1])
