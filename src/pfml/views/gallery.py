"""Which queries the gallery shows, and what each method's run finds for them (Figure 4 of the paper)."""

from collections.abc import Sequence

import numpy as np
import torch

from pfml.evaluation.trained import Trained, evenly_spaced, images_of, read_trained, runs_of
from pfml.figures.gallery import Found
from pfml.retrieval import nearest_neighbors, retrieval_metrics
from pfml.settings.run import Run

QUERIES = 8
NEIGHBOURS = 4  # as the paper


def gallery_of(grid: Sequence[Run], dataset: str) -> tuple:
    """What PFML finds beside the baseline with the highest R@1, both of the first seed at the lowest noise.

    The queries are the same for every method and chosen without a look at what is found: the first image of each of
    QUERIES evenly spaced test classes. Without PFML in the grid the first method stands in its place.

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
        method: retrieval_metrics(trained.test, trained.test_labels, (1,))["recall@1"]
        for method, trained in networks.items()
        if method == first or trained.run.loss_name not in ("pfml", "cpml")
    }
    shown = [first, *sorted(recalls.keys() - {first}, key=lambda method: -recalls[method])[:1]]
    trained = networks[first]
    chosen = evenly_spaced(trained.test_labels, QUERIES)
    asked = np.array([int(np.flatnonzero(trained.test_labels == c)[0]) for c in chosen])
    labels = np.full(trained.test_items.max() + 1, -1)
    labels[trained.test_items] = trained.test_labels
    blocks = [Found(method, _neighbours(networks[method], asked), recalls[method]) for method in shown]
    return images_of(dataset), trained.test_items[asked], blocks, labels


def _neighbours(trained: Trained, asked: np.ndarray) -> np.ndarray:
    found = [rows for _, rows in nearest_neighbors(torch.from_numpy(trained.test), torch.from_numpy(asked), NEIGHBOURS)]
    return trained.test_items[torch.cat(found).numpy()]
