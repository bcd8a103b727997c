"""DVC's cache: a file's object there has the MD5 of its content as its name."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def cache_folder() -> Path:
    """Where DVC keeps the objects of the project in the working directory; working copies of presets share it."""
    from dvc.config import Config

    found = Config(".dvc", validate=False).get("cache", {}).get("dir")
    return Path(found or ".dvc/cache", "files/md5")


def stored(files: Iterable[Path]) -> bool:
    """Whether the cache has all of some files; False of none. On a full disk DVC says so and goes on without."""
    files = list(files)
    digests, folder = list(map(md5, files)), cache_folder()
    return bool(files) and all((folder / digest[:2] / digest[2:]).exists() for digest in digests)


def md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
