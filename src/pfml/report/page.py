"""reports/index.html: summary, tables, figures and environment as one page that needs neither network nor server."""

import base64
import html
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from pfml.report.markdown import entry_text
from pfml.report.names import MISSING
from pfml.report.stamps import stamp_of
from pfml.report.table import Entry, Section, Table


def render_page(
    title: str, lead: str, sections: Sequence[Section], figures: Sequence[tuple[Path, str]], environment: Mapping
) -> str:
    """The whole page: style, script and pictures are inside it.

    Args:
        lead: paragraphs in the report's small Markdown (code, bold, links, lists of one level).
        sections: the report's, in its order; their tables can be sorted by a click on a heading.
        figures: PNG files with what is seen on them, which stands below and is read out instead.
        environment: what the page was made with, name -> text or list of texts.
    """
    headings = [section.heading for section in sections] + ["Figures"] * bool(figures) + ["Environment"]
    links = "".join(f'<li><a href="#{_anchor(heading)}">{_inline(heading)}</a></li>' for heading in headings)
    parts = [_section(section) for section in sections]
    if figures:
        parts.append(f'<section id="figures"><h2>Figures</h2>{"".join(_figure(*one) for one in figures)}</section>')
    parts.append(f'<section id="environment"><h2>Environment</h2>{_environment(environment)}</section>')
    template = files("pfml.report").joinpath("page.html").read_text(encoding="utf-8")
    filled = {"title": html.escape(title), "lead": _paragraphs(lead), "links": links, "body": "\n".join(parts)}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], template)


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def _section(section: Section) -> str:
    parts = [_paragraphs(part) if isinstance(part, str) else _table(part) for part in section.parts]
    lead = _paragraphs(section.lead) if section.lead else ""
    return (
        f'<section id="{_anchor(section.heading)}"><h2>{_inline(section.heading)}</h2>{lead}{"".join(parts)}</section>'
    )


def _table(table: Table) -> str:
    """A table that is not among the Markdown ones stands folded."""
    heads = "".join(
        f'<th scope="col"{" class=words" if words else ""}><button>{_inline(text)}</button></th>'
        for text, words in zip(table.header, table.words)
    )
    rows = "".join(
        "<tr>" + "".join(_cell(entry, words) for entry, words in zip(row, table.words)) + "</tr>" for row in table.rows
    )
    readings = f'<p class="reading">Reading: {_inline(" ".join(table.readings))}</p>' if table.readings else ""
    name = _anchor(table.name)
    body = f'<table id="{name}"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    body = f'<div class="wide">{body}</div>'
    if not table.listed:
        return f"<details><summary>{_inline(table.title)}</summary>{body}{readings}</details>"
    return f"<p>{_inline(table.title)}</p>{body}{readings}"


def _cell(entry: Entry, words: bool) -> str:
    """Sorting reads data-value: the number, or the words, or nothing, which comes last."""
    value = entry.text if entry.value is None else repr(float(entry.value))
    value = "" if value == MISSING else value
    return f'<td data-value="{html.escape(value)}"{" class=words" if words else ""}>{_inline(entry_text(entry))}</td>'


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    text = _inline(caption)
    plain = html.escape(re.sub(r"[`*]", "", caption), quote=True)
    return (
        f'<figure id="{_anchor(path.stem)}"><img alt="{plain}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _environment(environment: Mapping) -> str:
    rows = []
    for name, value in environment.items():
        texts = [value] if isinstance(value, str) else list(value)
        rows.append(f"<dt>{_inline(name)}</dt><dd>{'<br>'.join(map(_inline, texts))}</dd>")
    return f"<dl>{''.join(rows)}</dl>"


def _paragraphs(text: str) -> str:
    """Paragraphs are parted by an empty line; one that begins with `* ` is a list."""
    parts = []
    for block in re.split(r"\n\s*\n", text.strip()):
        if block.startswith("#"):
            continue  # the page has headings of its own
        if block.startswith("* "):
            items = re.split(r"\n?^\* ", block, flags=re.M)[1:]
            parts.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")
        else:
            parts.append(f"<p>{_inline(block)}</p>")
    return "".join(parts)


def _inline(text: str) -> str:
    """code, bold, italics and links; a link to a file is to where it lies beside the page."""
    text = html.escape(text, quote=False)
    kept: list[str] = []

    def keep(found) -> str:
        kept.append(f"<code>{found[1]}</code>")
        return f"\0{len(kept) - 1}\0"

    text = re.sub(r"`([^`]+)`", keep, text)
    text = re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", r'<a href="\2">\1</a>', text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    text = re.sub(r"(?<![\w*])\*(?=\S)([^*]+?)(?<=\S)\*(?![\w*])", r"<em>\1</em>", text)
    return re.sub("\0(\\d+)\0", lambda found: kept[int(found[1])], text)


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
