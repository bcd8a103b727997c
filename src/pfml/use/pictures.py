"""Images of the user, from paths, folders and PIL images."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from pfml.images.decode import EXTENSIONS, decode

Picture = str | Path | Image.Image


def listed(images: Picture | Iterable[Picture]) -> list[Picture]:
    """One path, folder or PIL image, or several of them, as a list of files and PIL images. A folder stands for the
    image files below it, sorted; files count as images by their extension (pfml.images.decode.EXTENSIONS), hidden ones
    do not.

    Raises:
        ValueError: a path that is not there, or a folder without images; names it.
        TypeError: neither a path nor a PIL image.
    """
    several = [images] if isinstance(images, str | Path | Image.Image) else list(images)
    found: list[Picture] = []
    for one in several:
        if isinstance(one, Image.Image):
            found.append(one)
            continue
        if not isinstance(one, str | Path):
            raise TypeError(f"images: expected paths, folders or PIL images, found {type(one).__name__}")
        path = Path(one)
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
        found += [path / name for name in image_files(path)] if path.is_dir() else [path]
    return found


def image_files(folder: Path) -> list[str]:
    """The image files below a folder, relative to it and sorted.

    Raises:
        ValueError: no such folder, or none in it; names it.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not names:
        raise ValueError(
            f"{folder}: expected image files ({', '.join(EXTENSIONS[:6])} ...) below this folder, found none"
        )
    return names


def opened(picture: Picture) -> Image.Image:
    """A picture as a person sees it: RGB, upright.

    Raises:
        ValueError: no image, or a broken one, or a file that cannot be read; names the file.
    """
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    try:
        data = Path(picture).read_bytes()
    except OSError as error:
        raise ValueError(f"{picture}: cannot be read ({error.strerror})") from None
    return decode(data, str(picture))
