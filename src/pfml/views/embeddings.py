"""What the figures of embeddings show: which classes and images of which runs. Chosen by rule, never by result."""

from collections.abc import Sequence

import numpy as np

from pfml.evaluation.trained import Trained, class_names, evenly_spaced, images_of, read_trained, runs_of
from pfml.figures.proxy import Shown
from pfml.settings.run import Run
from pfml.wasserstein import class_wasserstein

MAP_CLASSES, MAP_IMAGES = 40, 15  # evenly spaced test classes, and their first images
PROXY_CLASSES = 4  # evenly spaced training classes
PROXY_METHODS = ("pfml", "cpml", "soft_triple", "proxy_anchor")


def map_view(grid: Sequence[Run], dataset: str) -> tuple:
    """Arguments of map_figure: test images of PFML (else the grid's first method), first seed, lowest noise.

    Raises:
        ValueError: a run belongs to another configuration.
    """
    runs = runs_of(grid, dataset)
    if not runs:  # a study of cross validations alone
        return "pfml", np.empty((0, 2)), np.empty(0), []
    method = "pfml" if "pfml" in runs else next(iter(runs))
    trained, stored = read_trained(runs[method]), images_of(dataset)
    chosen = [
        np.flatnonzero(trained.test_labels == c)[:MAP_IMAGES] for c in evenly_spaced(trained.test_labels, MAP_CLASSES)
    ]
    rows = np.concatenate(chosen)
    return (
        method,
        trained.test[rows],
        trained.test_labels[rows],
        [stored[int(item)] for item in trained.test_items[rows]],
    )


def proxy_view(grid: Sequence[Run], dataset: str) -> tuple[list[Shown], dict[int, str]]:
    """Arguments of proxy_figure: PROXY_METHODS, as far as they are in the grid and have proxies, at its lowest and its
    highest noise, first seed.

    Raises:
        ValueError: a run belongs to another configuration.
    """
    noises = sorted({run.noise for run in grid if run.dataset == dataset})
    runs = [runs_of(grid, dataset, noise) for noise in dict.fromkeys(noises[:1] + noises[-1:])]
    networks = [read_trained(found[method]) for found in runs for method in PROXY_METHODS if method in found]
    networks = [trained for trained in networks if trained.proxies.size]
    if not networks:
        return [], {}
    names = class_names(networks[0])
    classes = [int(c) for c in evenly_spaced(networks[0].true_labels, PROXY_CLASSES)]
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
