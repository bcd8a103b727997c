"""A map of scores over two settings of a field method's loss, with the distances of the embeddings in it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pfml.figures.style import (
    BLACK,
    VERMILION,
    dataset_name,
    figure_style,
    heading,
    method_name,
    new_figure,
    save_figure,
)

SYMBOLS = {"delta_rep": "$\\delta_{rep}$", "delta": "δ", "alpha": "α", "proxies_per_class": "M"}


def score_map(method: str, dataset: str, noise: float, rows: Sequence[dict], path: str | Path) -> None:
    """A cell for each point: R@1 in percent, and below it the mean distance between classes after training. A dashed
    line marks that distance before the first step on an axis of delta_rep. The best point has a frame.

    Args:
        rows: of pfml.evaluation.maps.read_map, from the first settings to the last.
    """
    across, up = (key for key in list(rows[0])[1::-1])  # the second setting from left to right
    columns, lines = (sorted({row[key] for row in rows}) for key in (across, up))
    with figure_style():
        figure = new_figure(1.3 + 0.85 * len(columns), 1.2 + 0.62 * len(lines))
        axes = figure.subplots()
        scores = np.full((len(lines), len(columns)), np.nan)
        for row in rows:
            if row["recall@1"] is not None:
                scores[lines.index(row[up]), columns.index(row[across])] = 100 * row["recall@1"]
        shown = axes.imshow(scores, origin="lower", cmap="viridis", aspect="auto")
        axes.grid(False)
        middle = np.nanmean([np.nanmin(scores), np.nanmax(scores)])
        best = np.nanmax(scores)
        for row in rows:
            x, y = columns.index(row[across]), lines.index(row[up])
            if row["recall@1"] is None:
                axes.text(x, y, "diverged", ha="center", va="center", fontsize=7)
                continue
            ink = "white" if scores[y, x] < middle else BLACK
            axes.text(x, y + 0.12, f"{scores[y, x]:.1f}", ha="center", va="center", color=ink, fontsize=9.5)
            axes.text(x, y - 0.25, f"{row['end_distance']:.2f}", ha="center", va="center", color=ink, fontsize=7)
            if scores[y, x] == best:
                axes.add_patch(_frame(x, y))
        axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
        axes.set_yticks(range(len(lines)), [f"{value:g}" for value in lines])
        axes.set(xlabel=SYMBOLS.get(across, across), ylabel=SYMBOLS.get(up, up))
        starts = [row["start_distance"] for row in rows if row["start_distance"] is not None]
        if starts and across == "delta_rep":
            place = np.interp(starts[0], columns, range(len(columns)))
            axes.axvline(place, color=VERMILION, linestyle="--", label=f"mean distance at the start, {starts[0]:.2f}")
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
        figure.colorbar(shown, label="R@1 (%)")
        small = "small: mean distance between classes after training"
        heading(figure, f"{method_name(method)}, {dataset_name(dataset)}, {100 * noise:g} % noise; {small}")
        save_figure(figure, path)


def _frame(x: int, y: int):
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, fill=False, edgecolor=VERMILION, linewidth=2)
