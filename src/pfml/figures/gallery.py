"""Figure 4 of the paper: queries with the test images nearest to them, of two methods side by side.

Queries and methods are chosen by rule, never by result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pfml.evaluation.trained import Trained, evenly_spaced, read_trained, runs_of
from pfml.figures.style import RIGHT, WRONG, figure_style, frame, heading, method_name, new_figure, nothing, save_figure
from pfml.figures.thumbnails import thumbnail
from pfml.images.packed import open_images
from pfml.retrieval import nearest_neighbors, retrieval_metrics
from pfml.settings.run import Run

QUERIES = 8
NEIGHBOURS = 4  # as the paper

SIDE, EDGE = 0.85, 0.04  # inches: a picture's place, and what it leaves free on each side
GAP, HEAD = 0.25, 0.55  # inches: between query and blocks, above the pictures


@dataclass(frozen=True)
class Found:
    """What one method found: (q, k) image numbers, nearest first, and R@1 over all queries as a fraction."""

    method: str
    neighbours: Sequence[Sequence[int]]
    recall: float


def gallery_view(grid: Sequence[Run], dataset: str) -> tuple:
    """Arguments of gallery_figure: what PFML finds beside the baseline with the highest R@1, both of the first seed at
    the lowest noise.

    The queries are the same for every method and chosen without a look at what is found: the first image of each of
    QUERIES evenly spaced test classes (the first query, where the dataset separates queries and gallery). Without PFML
    in the grid the first method stands in its place.

    Returns:
        images (of the whole dataset), query numbers (q,), a Found per method, label of every image (-1: not a test
        image).

    Raises:
        ValueError: a run belongs to another configuration.
    """
    networks = {method: read_trained(run) for method, run in runs_of(grid, dataset).items()}
    if not networks:  # a study of cross validations alone
        return [], [], [], []
    first = "pfml" if "pfml" in networks else next(iter(networks))
    recalls = {
        method: retrieval_metrics(trained.test, trained.test_labels, (1,), **trained.sides)["recall@1"]
        for method, trained in networks.items()
        if method == first or trained.run.loss_name not in ("pfml", "cpml")
    }
    shown = [first, *sorted(recalls.keys() - {first}, key=lambda method: -recalls[method])[:1]]
    trained = networks[first]
    queries = trained.sides.get("queries")
    queries = np.arange(len(trained.test)) if queries is None else queries
    chosen = evenly_spaced(trained.test_labels[queries], QUERIES)
    asked = np.array([int(queries[trained.test_labels[queries] == c][0]) for c in chosen])
    labels = np.full(trained.test_items.max() + 1, -1)
    labels[trained.test_items] = trained.test_labels
    blocks = [Found(method, _neighbours(networks[method], asked), recalls[method]) for method in shown]
    return open_images(Path("data/raw", dataset)), trained.test_items[asked], blocks, labels


def _neighbours(trained: Trained, asked: np.ndarray) -> np.ndarray:
    points, gallery = torch.from_numpy(trained.test), trained.sides.get("gallery")
    found = [rows for _, rows in nearest_neighbors(points, torch.from_numpy(asked), NEIGHBOURS, gallery=gallery)]
    return trained.test_items[torch.cat(found).numpy()]


def gallery_figure(images, queries: Sequence[int], blocks: Sequence[Found], labels, path: str | Path) -> None:
    """A row per query: the query, then each method's neighbours, nearest first. A dark frame with a tick is of the
    query's class, a light one with a cross is not.

    Args:
        images: images[i] is (H, W, 3) or (H, W) of bytes. queries: q numbers of images. blocks: what each method found;
            a query's own number is not among its neighbours.
        labels: labels[i], the class of image i.

    Raises:
        ValueError: numbers of queries and neighbour rows differ.
    """
    for block in blocks:
        if len(queries) != len(block.neighbours):
            raise ValueError(
                f"gallery_figure: {len(queries)} queries, but {method_name(block.method)} has neighbours for "
                f"{len(block.neighbours)}"
            )
    k = len(blocks[0].neighbours[0]) if blocks and len(queries) else 0
    starts = [(SIDE + GAP) + b * (k * SIDE + GAP) for b in range(len(blocks))]  # inches from the query's left edge
    with figure_style():
        size = (starts[-1] + k * SIDE + 0.1, len(queries) * SIDE + HEAD) if k else (4, 2)
        figure = new_figure(*size, layout=None)
        if not k:
            nothing(figure, "no query")
        for r, query in enumerate(queries if k else ()):
            axes = _place(figure, 0, r, images[query])
            frame(axes, "black", 1)
            for start, block in zip(starts, blocks):
                for c, index in enumerate(block.neighbours[r]):
                    _judge(_place(figure, start + c * SIDE, r, images[index]), labels[index] == labels[query])
        if k:
            top = 1 - (HEAD - 0.08) / size[1]
            figure.text(EDGE / size[0], top, "query", fontsize=8)
            for start, block in zip(starts, blocks):
                figure.text((start + EDGE) / size[0], top, caption(block, queries, labels), fontsize=8)
            heading(figure, f"Unseen classes: the {k} test images nearest to each query, nearest first")
        save_figure(figure, path)


def caption(block: Found, queries: Sequence[int], labels) -> str:
    """`PFML: 21 of these 32 right, R@1 of all 70.5 %`."""
    pairs = [(query, index) for query, row in zip(queries, block.neighbours) for index in row]
    right = sum(bool(labels[query] == labels[index]) for query, index in pairs)
    return f"{method_name(block.method)}: {right} of these {len(pairs)} right, R@1 of all {100 * block.recall:.1f} %"


def _place(figure, left: float, row: int, image):
    """Axes with a picture, `left` inches from the first column."""
    width, height = figure.get_size_inches()
    bottom, side = height - HEAD - (row + 1) * SIDE, SIDE - 2 * EDGE
    axes = figure.add_axes(((left + EDGE) / width, (bottom + EDGE) / height, side / width, side / height))
    axes.imshow(thumbnail(image), interpolation="none")
    return axes


def _judge(axes, right: bool) -> None:
    """Frame and mark of a neighbour."""
    colour = RIGHT if right else WRONG
    frame(axes, colour, 3)
    box = {"boxstyle": "round,pad=0.15", "facecolor": colour, "edgecolor": "none"}
    place = {"transform": axes.transAxes, "ha": "right", "va": "bottom"}
    text = {"color": "white" if right else "black", "fontsize": 7}
    axes.text(0.97, 0.05, "✓" if right else "✗", bbox=box, **text, **place)
