"""One name in two Unicode forms: é as one character (NFC) or as e and an accent (NFD, as older macOS writes names).

They look alike in every listing and message, and are different names to a file system such as Linux's.
"""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path


def composed(name: str) -> str:
    """The name with each letter as one character where there is one (NFC)."""
    return unicodedata.normalize("NFC", name)


def form(name: str) -> str:
    """NFC, NFD, or mixed, for messages."""
    for known in ("NFC", "NFD"):
        if unicodedata.is_normalized(known, name):
            return known
    return "mixed"


def twins(names: Iterable[str]) -> list[str]:
    """Of names that differ in their form alone: what to say of each such group, in the order of the names."""
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        if not name.isascii():
            groups.setdefault(composed(name), {})[name] = None
    return [
        f"{name} ({', '.join(f'{form(one)} {one.encode()!r}' for one in group)})"
        for name, group in groups.items()
        if len(group) > 1
    ]


class OtherForm:
    """Finds a path that is there in another Unicode form; every folder is listed once."""

    def __init__(self):
        self._entries: dict[Path, dict[str, str]] = {}

    def __call__(self, folder: Path, path: str) -> str | None:
        """The path below `folder` as its names are on the disk, or None."""
        if path.isascii():
            return None
        found = []
        for part in Path(path).parts:
            here = folder.joinpath(*found)
            name = part if (here / part).exists() else self._listed(here).get(composed(part))
            if name is None:
                return None
            found.append(name)
        return str(Path(*found))

    def _listed(self, folder: Path) -> dict[str, str]:
        if folder not in self._entries:
            try:
                self._entries[folder] = {composed(name): name for name in sorted(os.listdir(folder))}
            except OSError:
                self._entries[folder] = {}
        return self._entries[folder]
