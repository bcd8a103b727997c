"""What the figures of embeddings show: which classes and images of which runs. Chosen by rule, never by result."""

from collections.abc import Sequence

import numpy as np

from pfml.cell import Cell
from pfml.figures.proxy import Shown
from pfml.trained import Trained, cells_of, class_names, evenly_spaced, images_of, read_trained
from pfml.wasserstein import class_wasserstein

MAP_CLASSES, MAP_IMAGES = 40, 15  # evenly spaced test classes, and their first images
PROXY_CLASSES = 4  # evenly spaced training classes
PROXY_METHODS = ("pfml", "cpml", "soft_triple", "proxy_anchor")


def map_view(grid: Sequence[Cell], dataset: str) -> tuple:
    """Arguments of map_figure: test images of PFML (else the grid's first method), first seed, lowest noise.

    Raises:
        ValueError: a run belongs to another configuration.
    """
    cells = cells_of(grid, dataset)
    if not cells:  # a study of cross validations alone
        return "pfml", np.empty((0, 2)), np.empty(0), []
    method = "pfml" if "pfml" in cells else next(iter(cells))
    run, stored = read_trained(cells[method]), images_of(dataset)
    chosen = [np.flatnonzero(run.test_labels == c)[:MAP_IMAGES] for c in evenly_spaced(run.test_labels, MAP_CLASSES)]
    rows = np.concatenate(chosen)
    return method, run.test[rows], run.test_labels[rows], [stored[int(item)] for item in run.test_items[rows]]


def proxy_view(grid: Sequence[Cell], dataset: str) -> tuple[list[Shown], dict[int, str]]:
    """Arguments of proxy_figure: PROXY_METHODS, as far as they are in the grid and have proxies, at its lowest and its
    highest noise, first seed.

    Raises:
        ValueError: a run belongs to another configuration.
    """
    noises = sorted({cell.noise for cell in grid if cell.dataset == dataset})
    cells = [cells_of(grid, dataset, noise) for noise in dict.fromkeys(noises[:1] + noises[-1:])]
    runs = [read_trained(found[method]) for found in cells for method in PROXY_METHODS if method in found]
    runs = [run for run in runs if run.proxies.size]
    if not runs:
        return [], {}
    names = class_names(runs[0])
    classes = [int(c) for c in evenly_spaced(runs[0].true_labels, PROXY_CLASSES)]
    return [_shown(run, classes) for run in runs], {c: names[c] for c in classes}


def _shown(run: Trained, classes: Sequence[int]) -> Shown:
    rows = np.isin(run.labels, classes)
    w2 = {}
    for c in classes:
        own = run.train[run.labels == c]
        enough = len(own) >= run.proxies.shape[1]  # the distance pairs every proxy with an embedding of its own
        w2[c] = class_wasserstein(run.proxies[c], own) if enough else None
    return Shown(
        run.cell.method, float(run.cell.noise), run.train[rows], run.labels[rows], run.true_labels[rows],
        {c: run.proxies[c] for c in classes}, w2,
    )  # fmt: skip
