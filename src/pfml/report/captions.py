"""The figures on disk with what docs/figures.md says of them."""

import re
from collections.abc import Mapping
from pathlib import Path

from pfml.report.stamps import stamp_of

OTHER_RUNS = "**Drawn from other runs than those of the present configuration.**"


def captioned(figures: Path, docs: Path, runs: Mapping[str, str]) -> list[tuple[Path, str]]:
    """PNG files in the order of the document, each with its heading and first paragraph; `kind-<dataset>` stands where
    the document shows one of glyphs, for the datasets of the study alone. A figure that the document does not have
    comes last, by its name.

    Args:
        runs: dataset of the study -> digest of its runs; a figure with the stamp of others (`stamps`) says so.
    """
    found, left = [], sorted(figures.glob("*.png"))
    for title, stem, text in sections(docs.read_text(encoding="utf-8")):
        kind = stem.removesuffix("-glyphs") if stem.endswith("-glyphs") else None
        same = [path for path in left if path.stem == stem or (kind and path.stem.startswith(f"{kind}-"))]
        shown = [path for path in same if not kind or path.stem.removeprefix(f"{kind}-") in runs]
        found += [(path, f"**{title}** ({path.stem}). {text}{_other_runs(path, runs)}") for path in shown]
        left = [path for path in left if path not in same]
    return found + [(path, f"**{path.stem}**") for path in left]


def _other_runs(path: Path, runs: Mapping[str, str]) -> str:
    drawn_from = stamp_of(path)
    return "" if drawn_from is None or drawn_from in runs.values() else f" {OTHER_RUNS}"


def sections(text: str) -> list[tuple[str, str, str]]:
    """(heading, stem of its picture, first paragraph below that) of each section with a picture."""
    pattern = r"^## (.+?)\n+!\[[^\]]*\]\(\S*?([\w-]+)\.png\)\n+(.+?)(?=\n\n|\Z)"
    return [(title, stem, " ".join(body.split())) for title, stem, body in re.findall(pattern, text, re.M | re.S)]
