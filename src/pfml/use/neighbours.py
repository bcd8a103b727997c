"""The picture of what a trained network finds, on a run's page in MLflow."""

from pathlib import Path

import numpy as np
from PIL import Image

from pfml.evaluation.trained import evenly_spaced, read_trained
from pfml.figures.thumbnails import thumbnail
from pfml.images.packed import open_images
from pfml.settings.run import Run
from pfml.use.index import nearest

QUERIES, NEIGHBOURS = 8, 6
SIDE, EDGE = 64, 3  # pixels of a picture, and of its frame
ASKED, RIGHT, WRONG = (0, 0, 0), (0, 114, 178), (230, 159, 0)  # frames: colours that the colour-blind can tell apart


def neighbours_picture(run: Run) -> Image.Image:
    """A row for each of QUERIES test images, the first of evenly spaced classes: the query, black, then the images
    nearest to it among all test images by faiss, exact; blue of its class, orange of another.

    Raises:
        OSError: the embeddings or the images are not here.
        ValueError: they belong to another configuration.
    """
    trained = read_trained(run)
    images = open_images(Path("data/raw", run.dataset))
    asked = [int(np.flatnonzero(trained.test_labels == c)[0]) for c in evenly_spaced(trained.test_labels, QUERIES)]
    points = trained.test.astype(np.float32)
    _, found = nearest(points, points[asked], min(NEIGHBOURS + 1, len(points)), "exact")
    place, gap = SIDE + 2 * EDGE, SIDE // 2
    sheet = Image.new("RGB", ((NEIGHBOURS + 1) * place + gap, len(asked) * place), "white")
    for row, (query, near) in enumerate(zip(asked, found)):
        others = [one for one in near.tolist() if one != query][:NEIGHBOURS]  # twins may push the query out
        for column, one in enumerate([query, *others]):
            right = trained.test_labels[one] == trained.test_labels[query]
            frame = ASKED if column == 0 else RIGHT if right else WRONG
            pixels = images[int(trained.test_items[one])]
            sheet.paste(_framed(pixels, frame), (column * place + gap * bool(column), row * place))
    return sheet


def _framed(pixels: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    framed = Image.new("RGB", (SIDE + 2 * EDGE, SIDE + 2 * EDGE), colour)
    picture = Image.fromarray(thumbnail(pixels, SIDE)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    framed.paste(picture, (EDGE, EDGE))
    return framed
