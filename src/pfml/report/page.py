"""reports/index.html: claims, tables, figures and environment as one page that needs neither network nor server, from
templates/page.html; and the captions of its figures, which docs/figures.md has.
"""

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pfml.report.files import entry_text, fill
from pfml.report.markup import literal, opened, shielded
from pfml.report.names import MISSING
from pfml.report.stamps import stamp_of
from pfml.report.table import Entry, Section

LINK = r"https://[^\s\"'<>]+|(?:\.\./)*\w[\w./#-]*"  # to a page on the web, or to a file beside this one
OTHER_RUNS = "**Drawn from other runs than those of the present configuration.**"


def render_page(
    title: str, lead: str, sections: Sequence[Section], figures: Sequence[tuple[Path, str]], environment: Mapping
) -> str:
    """The whole page: style, script and pictures are inside it, and a policy by which a browser runs no other script.

    Args:
        lead: paragraphs in the report's small Markdown (code, bold, links, lists of one level).
        sections: the report's, in its order; their tables can be sorted by a click on a heading, and one that tables.md
            leaves to its files stands folded.
        figures: PNG files with what is seen on them, which stands below and is read out instead.
        environment: what the page was made with, name -> text or list of texts, shown as they are.
    """
    headings = [section.heading for section in sections] + ["Figures"] * bool(figures) + ["Environment"]
    shown = {"title": title, "lead": lead, "sections": sections, "figures": figures, "environment": environment}
    filters = {
        "inline": inline, "paragraphs": paragraphs, "entry_text": entry_text, "sorted_by": sorted_by,
        "anchor": lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"),
        "unmarked": lambda text: opened(re.sub(r"[`*]", "", shielded(text))),
        "sha256": lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
        "base64": lambda path: base64.b64encode(path.read_bytes()).decode(),
    }  # fmt: skip
    return fill("page.html", filters, headings=headings, zip=zip, **shown)


def sorted_by(entry: Entry) -> str:
    """What a column is sorted by: the number, or the words, or nothing, which comes last."""
    value = opened(shielded(entry.text)) if entry.value is None else repr(float(entry.value))
    return "" if value == MISSING else value


def paragraphs(text: str) -> str:
    """Paragraphs are parted by an empty line; one that begins with `* ` is a list."""
    parts = []
    for block in filter(None, re.split(r"\n\s*\n", text.strip())):
        if block.startswith("#"):
            continue  # the page has headings of its own
        if block.startswith("* "):
            items = re.split(r"\n?^\* ", block, flags=re.M)[1:]
            parts.append("<ul>" + "".join(f"<li>{inline(item)}</li>" for item in items) + "</ul>")
        else:
            parts.append(f"<p>{inline(block)}</p>")
    return "".join(parts)


def inline(text: str) -> str:
    """code, bold, italics and links; a link to a file is to where it lies beside the page, and one that is neither that
    nor to https:// stays text.
    """
    text = html.escape(shielded(text.replace("\0", "")), quote=False)
    kept: list[str] = []

    def keep(found) -> str:
        kept.append(f"<code>{found[1]}</code>")
        return f"\0{len(kept) - 1}\0"

    text = re.sub(r"`([^`]+)`", keep, text)
    text = re.sub(rf"\[([^\]]+)\]\(({LINK})\)", r'<a href="\2">\1</a>', text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    text = re.sub(r"(?<![\w*])\*(?=\S)([^*]+?)(?<=\S)\*(?![\w*])", r"<em>\1</em>", text)
    return opened(re.sub("\0(\\d+)\0", lambda found: kept[int(found[1])], text), html.escape)


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
        for path in shown:
            other = f" {OTHER_RUNS}" if stamp_of(path) not in (None, *runs.values()) else ""
            found.append((path, f"**{title}** ({literal(path.stem)}). {text}{other}"))
        left = [path for path in left if path not in same]
    return found + [(path, f"**{literal(path.stem)}**") for path in left]


def sections(text: str) -> list[tuple[str, str, str]]:
    """(heading, stem of its picture, first paragraph below that) of each section with a picture."""
    pattern = r"^## (.+?)\n+!\[[^\]]*\]\(\S*?([\w-]+)\.png\)\n+(.+?)(?=\n\n|\Z)"
    return [(title, stem, " ".join(body.split())) for title, stem, body in re.findall(pattern, text, re.M | re.S)]
