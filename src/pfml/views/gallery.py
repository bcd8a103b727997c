"""Which queries the gallery shows, and what each method's run finds for them (Figure 4 of the paper)."""

from collections.abc import Sequence

import numpy as np
import torch

from pfml.cell import Cell
from pfml.figures.gallery import Found
from pfml.retrieval import nearest_neighbours, retrieval_metrics
from pfml.trained import Trained, cells_of, evenly_spaced, images_of, read_trained

QUERIES = 8
NEIGHBOURS = 4  # as the paper


def gallery_of(grid: Sequence[Cell], dataset: str) -> tuple:
    """What PFML finds beside the baseline with the highest R@1, both of the first seed at the lowest noise.

    The queries are the same for every method and chosen without a look at what is found: the first image of each of
    QUERIES evenly spaced test classes. Without PFML in the grid the first method stands in its place.

    Returns:
        images (of the whole dataset), query numbers (q,), a Found per method, label of every image (-1: not a test
        image).

    Raises:
        ValueError: a run belongs to another configuration.
    """
    runs = {method: read_trained(cell) for method, cell in cells_of(grid, dataset).items()}
    if not runs:  # a study of cross validations alone
        return [], [], [], []
    first = "pfml" if "pfml" in runs else next(iter(runs))
    recalls = {
        method: retrieval_metrics(run.test, run.test_labels, (1,))["recall@1"]
        for method, run in runs.items()
        if method == first or run.cell.loss_name not in ("pfml", "cpml")
    }
    shown = [first, *sorted(recalls.keys() - {first}, key=lambda method: -recalls[method])[:1]]
    run = runs[first]
    chosen = evenly_spaced(run.test_labels, QUERIES)
    asked = np.array([int(np.flatnonzero(run.test_labels == c)[0]) for c in chosen])
    labels = np.full(run.test_items.max() + 1, -1)
    labels[run.test_items] = run.test_labels
    blocks = [Found(method, _neighbours(runs[method], asked), recalls[method]) for method in shown]
    return images_of(dataset), run.test_items[asked], blocks, labels


def _neighbours(run: Trained, asked: np.ndarray) -> np.ndarray:
    found = [rows for _, rows in nearest_neighbours(torch.from_numpy(run.test), torch.from_numpy(asked), NEIGHBOURS)]
    return run.test_items[torch.cat(found).numpy()]
