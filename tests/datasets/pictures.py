"""Pictures and listings that lie in memory."""

import io

import numpy as np
import pandas as pd
from PIL import Image

from pfml.datasets.listing import Listing


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def listing_of(files: dict[str, bytes], class_of=lambda name: name[0], **columns) -> Listing:
    """Files in memory; the class is the first letter of the name."""
    classes = sorted({class_of(name) for name in files})
    table = pd.DataFrame({"name": list(files)})
    table["class_id"] = [classes.index(class_of(name)) for name in files]
    table["class_name"] = [class_of(name) for name in files]
    return Listing(table.assign(**columns), files.__getitem__)
