"""Figure 5 of the paper: test images where t-SNE puts their embeddings. They are chosen by rule, never by result."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pfml.evaluation.trained import evenly_spaced, read_trained, runs_of
from pfml.figures.proxy import components
from pfml.figures.style import figure_style, heading, method_name, new_figure, nothing, save_figure
from pfml.figures.thumbnails import thumbnail
from pfml.images.packed import open_images
from pfml.settings.run import Run

CLASSES, IMAGES = 40, 15  # evenly spaced test classes, and their first images

WIDTH, HEIGHT, THUMB = 9.6, 8.4, 0.23  # inches: of the map at most, and of a picture
PIXELS = 32  # of a picture; at THUMB that is print quality
HEAD = 0.4  # inches over the map
PERPLEXITY, SEED = 30.0, 0
LEAST = 3  # images of which t-SNE makes a map


def map_view(grid: Sequence[Run], dataset: str) -> tuple:
    """Arguments of map_figure: test images of PFML (else the grid's first method), first seed, lowest noise.

    Raises:
        ValueError: a run belongs to another configuration.
    """
    runs = runs_of(grid, dataset)
    if not runs:  # a study of cross validations alone
        return "pfml", np.empty((0, 2)), np.empty(0), []
    method = "pfml" if "pfml" in runs else next(iter(runs))
    trained, stored = read_trained(runs[method]), open_images(Path("data/raw", dataset))
    chosen = [np.flatnonzero(trained.test_labels == c)[:IMAGES] for c in evenly_spaced(trained.test_labels, CLASSES)]
    rows = np.concatenate(chosen)
    return (
        method,
        trained.test[rows],
        trained.test_labels[rows],
        [stored[int(item)] for item in trained.test_items[rows]],
    )


def tsne(points: np.ndarray) -> np.ndarray:
    """A map (n, 2) of points (n, D): scikit-learn's t-SNE, perplexity PERPLEXITY (a third of the points where they are
    few), started from two principal components, with SEED, and turned so that it is widest from left to right; the same
    every time on one thread.
    """
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    model = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=SEED)
    places = model.fit_transform(points).astype(float)
    centre, ways, _ = components(places)
    return (places - centre) @ ways.T


def map_figure(method: str, embeddings: np.ndarray, labels: np.ndarray, images: Sequence, path: str | Path) -> None:
    """Pictures at their places in the map. Where two would overlap the one that comes first in a fixed random order is
    shown, the other is a dot.

    Args:
        method: whose embeddings. embeddings: (n, D), of unit length. labels: (n,) classes. images: n arrays of bytes.
    """
    with figure_style():
        if len(embeddings) < LEAST:
            figure = new_figure(4, 2)
            nothing(figure, f"{len(embeddings)} test images: too few for a map")
        else:
            places = tsne(embeddings)
            places *= min((np.array([WIDTH, HEIGHT]) - THUMB) / np.ptp(places, axis=0))  # in inches from here on
            width, height = np.ptp(places, axis=0) + THUMB
            figure = new_figure(max(width, 6.5), height + HEAD, layout=None)
            _map(figure, places, images)
            heading(figure, finding(method, embeddings, places, labels))
        save_figure(figure, path)


def finding(method: str, embeddings: np.ndarray, places: np.ndarray, labels: np.ndarray) -> str:
    """How often the nearest image is of the same class, in the space and in the map."""
    space, plane = (100 * same_class_nearest(points, labels) for points in (embeddings, places))
    what = f"{len(labels)} images of {len(np.unique(labels))} unseen classes"
    nearest = f"{space:.0f} % have one of their class nearest, {plane:.0f} % in the map"
    return f"t-SNE of {what} ({method_name(method)}): {nearest}"


def same_class_nearest(points: np.ndarray, labels: np.ndarray) -> float:
    """Share of points (n, D) whose nearest other one has their label (n,)."""
    squares = (points**2).sum(1)
    distance = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(distance, np.inf)
    return float((labels[distance.argmin(1)] == labels).mean())


def apart(places: np.ndarray, side: float) -> np.ndarray:
    """Which squares of this side around places (n, 2) to draw so that none overlap: (n,) bool."""
    shown, kept = np.zeros(len(places), bool), []
    for i in np.random.default_rng(SEED).permutation(len(places)):
        if not kept or np.abs(places[kept] - places[i]).max(1).min() >= side:
            kept.append(i)
            shown[i] = True
    return shown


def _map(figure, places: np.ndarray, images: Sequence) -> None:
    """One axes over all of the figure but its heading, in inches."""
    width, height = figure.get_size_inches()
    low = places.min(0) - THUMB / 2
    axes = figure.add_axes((0, 0, 1, 1 - HEAD / height))
    axes.set_axis_off()
    shown = apart(places, THUMB)
    axes.scatter(*places[~shown].T, s=3, color="#999999", linewidth=0, zorder=1)
    for i in np.flatnonzero(shown):
        x, y = places[i]
        half = THUMB * 0.48
        place = (x - half, x + half, y - half, y + half)
        axes.imshow(thumbnail(images[i], PIXELS), extent=place, interpolation="none", zorder=2)
    axes.set(xlim=(low[0], low[0] + width), ylim=(low[1], low[1] + height - HEAD), aspect="auto")
