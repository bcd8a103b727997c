"""Small pictures of a dataset's images in a figure, few bytes each."""

import numpy as np

COLOURS = 64  # of a thumbnail: a PDF then stores one byte a pixel, well compressed


def thumbnail(image: np.ndarray, side: int = 96) -> np.ndarray:
    """The middle square of an image (H, W, 3) or (H, W) of bytes, never enlarged, `side` pixels wide at most."""
    from PIL import Image

    height, width = np.shape(image)[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    middle = np.asarray(image)[top : top + short, left : left + short]
    picture = Image.fromarray(middle).convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(picture.quantize(COLOURS, dither=Image.Dither.NONE).convert("RGB"))
