"""The figures of the report, as PNG files that are equal byte for byte when the numbers are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pfml import paper
from pfml.report.ledger import Summary
from pfml.report.style import (
    RIGHT,
    WRONG,
    dataset_name,
    figure_style,
    line_style,
    method_name,
    new_figure,
    save_png,
    share,
)

SPAN = 1.6  # half the width of the plane in the picture of the field
LEAST_RANGE = 6.0  # points of R@1 that an ablation's axis spans at least


def training_curves(histories: Sequence[tuple[str, float, list[dict]]], path: str | Path) -> None:
    """Test R@1 over epochs, a panel per noise level, a line per method (mean over seeds, band from lowest to highest).

    Args:
        histories: (method, noise, rows with epoch and recall@1) per run; recall@1 None in epochs without evaluation.
            No histories give a figure that says so.
    """
    noises = sorted({noise for _, noise, _ in histories})
    with figure_style():
        figure = new_figure(4.6 * max(len(noises), 1) + 0.6, 3.9)
        if not noises:
            _nothing(figure, "no finished run of the present configuration")
        panels = figure.subplots(1, len(noises), sharey=True, squeeze=False)[0] if noises else []
        for axes, noise in zip(panels, noises):
            ends = []
            for method in dict.fromkeys(m for m, n, _ in histories if n == noise):
                runs = [rows for m, n, rows in histories if (m, n) == (method, noise)]
                epochs, low, mean, high = _band(runs)
                if not epochs:
                    continue
                look = line_style(method)
                axes.plot(epochs, mean, **look, zorder=4 if method.startswith("pfml") else 3)
                if len(runs) > 1:
                    axes.fill_between(epochs, low, high, color=look["color"], alpha=0.15, linewidth=0)
                ends.append((mean[-1], epochs[-1], method, look))
            _label_ends(axes, ends)
            axes.set_title("clean labels" if noise == 0 else f"{share(noise)} noisy labels", loc="left")
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
        if noises:
            panels[0].set_ylabel("R@1 on unseen classes (%)")
            figure.get_layout_engine().set(wspace=0.04)
        save_png(figure, path)


def _band(runs: Sequence[list[dict]]) -> tuple[list, list, list, list]:
    """Epochs that every run measured, with lowest, mean and highest R@1 in percent."""
    curves = [{int(r["epoch"]): 100 * r["recall@1"] for r in rows if r.get("recall@1") is not None} for rows in runs]
    epochs = sorted(set.intersection(*map(set, curves)))
    columns = [[curve[e] for curve in curves] for e in epochs]
    return epochs, [min(c) for c in columns], [sum(c) / len(c) for c in columns], [max(c) for c in columns]


def _label_ends(axes, ends: list) -> None:
    """Names at the right of the lines, best on top, pushed apart where they would overlap."""
    if not ends:
        return
    low, high = axes.get_ylim()
    ends = sorted(ends, key=lambda end: -end[0])
    heights = _spread([end[0] for end in ends], 0.048 * (high - low))
    for (value, epoch, method, look), height in zip(ends, heights):
        axes.annotate(
            f"{method_name(method)} {value:.1f}", xy=(epoch, value), xytext=(1.03, height),
            textcoords=axes.get_yaxis_transform(), color=look["color"], fontsize=8, va="center",
            arrowprops={"arrowstyle": "-", "color": look["color"], "linewidth": 0.6, "alpha": 0.6, "shrinkA": 0},
            annotation_clip=False,
        )  # fmt: skip
    axes.set_ylim(low, high)


def _spread(values: Sequence[float], gap: float) -> list[float]:
    """Falling positions at least `gap` apart, as near to the falling `values` as that allows (least squares)."""
    groups: list[list[float]] = []  # values moved up by the gaps before them; a group shares their mean
    for i, value in enumerate(values):
        groups.append([value + i * gap])
        while len(groups) > 1 and sum(groups[-1]) / len(groups[-1]) > sum(groups[-2]) / len(groups[-2]):
            last = groups.pop()
            groups[-1] += last
    level = [sum(group) / len(group) for group in groups for _ in group]
    return [height - i * gap for i, height in enumerate(level)]


def ablation_panels(
    series: Mapping[str, Sequence[tuple[float, Summary]]],
    published: Mapping[str, Sequence[paper.Published]],
    path: str | Path,
    defaults: Mapping[str, float] | None = None,
) -> None:
    """Figure 3: R@1 of PFML along each setting. Ours in the upper row, the published curves in the lower, own scales.

    Args:
        series: axis -> (value, R@1 as a fraction over seeds), by rising value; an axis may lack some points.
        published: axis -> paper.figure3(axis).
        defaults: axis -> the value that the other panels hold fixed, marked by a dotted line.
    """
    with figure_style():
        figure = new_figure(2.75 * max(len(series), 1), 4.8)
        if not series:
            _nothing(figure, "the configuration has no ablation")
        rows = figure.subplots(2, len(series), sharex="col", sharey="row", squeeze=False) if series else []
        for i, (axis, points) in enumerate(sorted(series.items(), key=lambda item: published[item[0]][0].table)):
            ours, theirs = rows[0][i], rows[1][i]
            held = [(value, 100 * s.mean, 100 * (s.std or 0)) for value, s in points if s.mean is not None]
            if held:
                x, y, error = zip(*held)
                ours.errorbar(x, y, error, marker="o", markersize=4.5, capsize=2, **line_style("pfml"))
            else:
                ours.text(0.5, 0.5, "not run", transform=ours.transAxes, ha="center", color="#777777")
            for dataset in ("cars196", "cub200"):
                at = [p for p in published[axis] if p.dataset == dataset]
                label = f"{dataset_name(dataset)} (digitised)"
                theirs.plot([p.at for p in at], [p.value for p in at], marker="s", markersize=3.5, label=label,
                            **line_style(dataset))  # fmt: skip
            for panel in (ours, theirs) if defaults and axis in defaults else ():
                panel.axvline(defaults[axis], color="#777777", linewidth=1, linestyle=":", zorder=1)
            name = paper.AXIS_NAMES[axis].replace("δ_rep", r"$\delta_{rep}$")
            ours.set_title(f"({published[axis][0].table[1]}) {name}", loc="left")
            theirs.set_xlabel(name)
        if series:
            _widen(rows[0][0], LEAST_RANGE)
            rows[0][0].set_ylabel("ours: R@1 (%)")
            rows[1][0].set_ylabel("published: R@1 (%)")
            rows[1][-1].legend(loc="center right", bbox_to_anchor=(1, 0.5))
        save_png(figure, path)


def _widen(axes, least: float) -> None:
    """Make the y axis span at least `least`, so that small differences look small."""
    low, high = axes.get_ylim()
    if high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)


def retrieval_gallery(images, query_idx: Sequence[int], neighbour_idx, labels, path: str | Path) -> None:
    """Queries with their nearest neighbours, nearest first: green frame and tick for the query's class, else orange
    and cross.

    Args:
        images: (n, H, W, 3) or (n, H, W) unsigned bytes. labels: (n,) classes.
        query_idx: q indices into images. neighbour_idx: (q, k) indices, a query's own not among them.

    Raises:
        ValueError: numbers of queries and neighbour rows differ.
    """
    if len(query_idx) != len(neighbour_idx):
        raise ValueError(f"retrieval_gallery: {len(query_idx)} queries, but neighbours for {len(neighbour_idx)}")
    k = len(neighbour_idx[0]) if len(query_idx) else 0
    with figure_style():
        figure = new_figure(0.85 * (k + 1) + 0.3, 0.85 * max(len(query_idx), 1) + 0.35)
        if not k:
            _nothing(figure, "no query")
        grid = {"width_ratios": [1, 0.18, *[1] * k]}
        panels = figure.subplots(len(query_idx), k + 2, squeeze=False, gridspec_kw=grid) if k else []
        for row, query, neighbours in zip(panels, query_idx, neighbour_idx):
            row[1].set_visible(False)
            for axes, index in zip([row[0], *row[2:]], [query, *neighbours]):
                axes.imshow(images[index], cmap="gray", interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                right = labels[index] == labels[query]
                colour = "#444444" if axes is row[0] else RIGHT if right else WRONG
                for spine in axes.spines.values():
                    spine.set(visible=True, color=colour, linewidth=1 if axes is row[0] else 3)
                if axes is not row[0]:
                    box = {"boxstyle": "round,pad=0.15", "facecolor": colour, "edgecolor": "none"}
                    place = {"transform": axes.transAxes, "ha": "right", "va": "bottom"}
                    axes.text(0.97, 0.05, "✓" if right else "✗", color="white", fontsize=7, bbox=box, **place)
        if k:
            panels[0][0].set_title("query", fontsize=8)
            panels[0][2].set_title("nearest first →", fontsize=8, loc="left")
        save_png(figure, path)


def field_picture(path: str | Path) -> None:
    """Figure 2: the class potentials of two classes in the plane, PFML beside CPML, with where proxies come to rest.

    Each class has two groups far apart and one embedding amid the other class, as a wrong label would put it. The
    field is that of the embeddings; the proxies start at the same random points under both laws. Arrow lengths are
    logarithmic: a quarter shorter for a tenth of the force.
    """
    import numpy as np

    from pfml.theory import DecayingLaw, GrowingLaw

    points, labels = _two_classes()
    starts = np.random.default_rng(5).normal(0.0, 0.75, (2, 8, 2))
    laws = {
        "PFML: force decays with distance": DecayingLaw(alpha=3.0, delta=0.2),
        "CPML: force grows with distance": GrowingLaw(delta=0.2),
    }
    with figure_style():
        figure = new_figure(8.2, 8.3)
        panels = figure.subplots(2, 2, sharex=True, sharey=True)
        for own in (0, 1):
            for axes, (name, law) in zip(panels[own], laws.items()):
                _field_panel(axes, points, labels, own, law, starts[own])
                if own == 0:
                    axes.set_title(name, loc="left")
            panels[own][0].set_ylabel(f"field of class {own + 1}, Ψ{'₁₂'[own]}")
        handles, names = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=5)
        save_png(figure, path)


def _field_panel(axes, points, labels, own: int, law, starts) -> None:
    """One class potential as grey levels (dark is low), its force as arrows, the embeddings and the proxies."""
    import numpy as np

    from pfml.theory import class_field, settle

    fine, coarse = np.linspace(-SPAN, SPAN, 160), np.linspace(-0.94 * SPAN, 0.94 * SPAN, 16)
    potential, _ = class_field(np.stack(np.meshgrid(fine, fine), -1), points, labels, own, law)
    levels = np.linspace(*np.quantile(potential, (0.0, 0.97)), 15)  # repulsion has no upper bound
    axes.contourf(fine, fine, potential, levels, cmap="Greys_r", alpha=0.75, extend="max")
    where = np.stack(np.meshgrid(coarse, coarse), -1)
    _, force = class_field(where, points, labels, own, law)
    size = np.maximum(np.linalg.norm(force, axis=-1, keepdims=True), 1e-12)
    arrows = force / size * np.clip(1 + np.log10(size / np.quantile(size, 0.95)) / 4, 0, 1.2)
    colours = [line_style(name)["color"] for name in ("proxy_anchor", "pfml")]
    axes.quiver(*where.T, *arrows.T, color=colours[own], width=0.004, scale=22, pivot="mid")
    for c in (0, 1):
        look = {"color": colours[c], "marker": "os"[c], "edgecolor": "white", "linewidth": 0.7}
        axes.scatter(*points[labels == c].T, s=26, zorder=4, label=f"embeddings of class {c + 1}", **look)
    ring = {"facecolor": "none", "edgecolor": "black", "linewidth": 1}
    axes.scatter(*points[-2:].T, s=110, zorder=4, label="wrong label", **ring)
    star = {"marker": "*", "edgecolor": "black", "linewidth": 0.8}
    rest = settle(starts, lambda at: class_field(at, points, labels, own, law)[1], step=0.02, steps=800)
    axes.scatter(*starts.T, s=14, facecolor="white", zorder=3, label="proxies at the start", **star)
    axes.scatter(*rest.T, s=120, facecolor="#F0E442", zorder=5, label="proxies at rest", **star)
    axes.set(xlim=(-SPAN, SPAN), ylim=(-SPAN, SPAN), aspect="equal", xticks=[], yticks=[])
    axes.grid(False)


def _two_classes():
    """Embeddings (n, 2) and labels: per class two groups, and one stray embedding amid the other class."""
    import numpy as np

    draw = np.random.default_rng(2)
    centres = {0: [(-0.95, 0.75), (0.55, 0.95)], 1: [(-0.7, -0.85), (0.95, -0.5)]}
    groups = [(c, draw.normal(centre, 0.13, (5, 2))) for c, places in centres.items() for centre in places]
    groups += [(0, np.array([[0.75, -0.85]])), (1, np.array([[-0.6, 0.45]]))]
    points = np.concatenate([group for _, group in groups])
    return points, np.concatenate([np.full(len(group), c) for c, group in groups])


def _nothing(figure, why: str) -> None:
    figure.text(0.5, 0.5, why, ha="center", va="center", color="#777777")
