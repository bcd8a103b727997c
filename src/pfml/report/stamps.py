"""Which runs a figure was drawn from, kept inside its PNG, so that a page made later can tell that they are others.

Figures of embeddings are drawn where the embeddings are; the page is rendered anywhere.
"""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

from pfml.settings.files import write_whole

KEY = "Runs"


def runs_digest(runs: Iterable) -> str:
    """16 hexadecimal digits of the configurations of some runs, in any order."""
    return hashlib.sha256("\n".join(sorted(run.digest for run in runs)).encode()).hexdigest()[:16]


def stamp(path: str | Path, digest: str) -> None:
    """Write the digest of its runs into a PNG; its picture stays as it is."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    note = PngInfo()
    note.add_text(KEY, digest)
    with Image.open(path) as image:
        image.load()
    picture = io.BytesIO()
    image.save(picture, format="PNG", optimize=True, pnginfo=note)
    write_whole(path, picture.getvalue())


def stamp_of(path: str | Path) -> str | None:
    """What `stamp` wrote, or None."""
    from PIL import Image

    with Image.open(path) as image:
        return image.info.get(KEY)
