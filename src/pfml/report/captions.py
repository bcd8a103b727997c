"""The figures on disk with what docs/figures.md says of them."""

import re
from collections.abc import Sequence
from pathlib import Path


def captioned(figures: Path, docs: Path, datasets: Sequence[str]) -> list[tuple[Path, str]]:
    """PNG files in the order of the document, each with its heading and first paragraph; `kind-<dataset>` stands where
    the document shows one of glyphs, for the `datasets` of the study alone: those of others were drawn from other runs.
    A figure that the document does not have comes last, by its name.
    """
    found, left = [], sorted(figures.glob("*.png"))
    for title, stem, text in sections(docs.read_text(encoding="utf-8")):
        kind = stem.removesuffix("-glyphs") if stem.endswith("-glyphs") else None
        same = [path for path in left if path.stem == stem or (kind and path.stem.startswith(f"{kind}-"))]
        shown = [path for path in same if not kind or path.stem.removeprefix(f"{kind}-") in datasets]
        found += [(path, f"**{title}** ({path.stem}). {text}") for path in shown]
        left = [path for path in left if path not in same]
    return found + [(path, f"**{path.stem}**") for path in left]


def sections(text: str) -> list[tuple[str, str, str]]:
    """(heading, stem of its picture, first paragraph below that) of each section with a picture."""
    pattern = r"^## (.+?)\n+!\[[^\]]*\]\(\S*?([\w-]+)\.png\)\n+(.+?)(?=\n\n|\Z)"
    return [(title, stem, " ".join(body.split())) for title, stem, body in re.findall(pattern, text, re.M | re.S)]
