"""The picture of what a trained network finds, on a run's page in MLflow."""

from pathlib import Path

import numpy as np
from PIL import Image

from pfml.evaluation.run_record import read_run, sides_of
from pfml.evaluation.trained import evenly_spaced
from pfml.figures.thumbnails import thumbnail
from pfml.images.packed import open_images
from pfml.settings.run import Run
from pfml.training.batches.run_data import read_labels
from pfml.use.index import nearest
from pfml.wasserstein import unit

QUERIES, NEIGHBOURS = 8, 6
SIDE, EDGE = 64, 3  # pixels of a picture, and of its frame
ASKED, RIGHT, WRONG = (0, 0, 0), (0, 114, 178), (230, 159, 0)  # frames: colours that the colour-blind can tell apart


def neighbours_picture(run: Run) -> Image.Image:
    """A row for each of QUERIES test images, the first of evenly spaced classes: the query, black, then the images
    nearest to it among all test images by faiss, exact; blue of its class, orange of another. Where the dataset
    separates queries and gallery, the first query of a class and the nearest of the gallery.

    Raises:
        OSError: the embeddings or the images are not here.
        ValueError: they belong to another configuration.
    """
    read_run(run)
    saved, rows = np.load(run.paths().model / "embeddings.npz"), read_labels(run)
    held_out = (rows["split"] == "train") & (rows["train_label"] < 0)
    items = rows.loc[held_out if run.never_sees_test else rows["split"] == "test", "item"].to_numpy()
    points, labels = unit(saved["test"]).astype(np.float32), saved["test_labels"]
    if len(items) != len(points):
        raise ValueError(f"{run.name}: expected {len(items)} embeddings, found {len(points)}; run dvc repro")
    images = open_images(Path("data/raw", run.dataset))
    every = np.arange(len(points))
    queries, gallery = (every if rows is None else rows for rows in sides_of(saved).values())
    asked = [int(queries[labels[queries] == c][0]) for c in evenly_spaced(labels[queries], QUERIES)]
    _, found = nearest(points[gallery], points[asked], min(NEIGHBOURS + 1, len(gallery)), "exact")
    place, gap = SIDE + 2 * EDGE, SIDE // 2
    sheet = Image.new("RGB", ((NEIGHBOURS + 1) * place + gap, len(asked) * place), "white")
    for row, (query, near) in enumerate(zip(asked, found)):
        others = [one for one in gallery[near].tolist() if one != query][:NEIGHBOURS]  # twins may push the query out
        for column, one in enumerate([query, *others]):
            right = labels[one] == labels[query]
            frame = ASKED if column == 0 else RIGHT if right else WRONG
            pixels = images[int(items[one])]
            sheet.paste(_framed(pixels, frame), (column * place + gap * bool(column), row * place))
    return sheet


def _framed(pixels: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    framed = Image.new("RGB", (SIDE + 2 * EDGE, SIDE + 2 * EDGE), colour)
    picture = Image.fromarray(thumbnail(pixels, SIDE)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    framed.paste(picture, (EDGE, EDGE))
    return framed
