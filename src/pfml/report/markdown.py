"""reports/tables.md from sections: headings, sentences, Markdown tables."""

from collections.abc import Sequence

from pfml.report.names import MISSING, markdown_table, number
from pfml.report.table import Entry, Section, Table


def document(preamble: str, sections: Sequence[Section]) -> str:
    return "\n".join([preamble, *map(section_text, sections)])


def section_text(section: Section) -> str:
    shown = [part for part in section.parts if isinstance(part, str) or part.listed]
    parts = [text for part in shown for text in ([part] if isinstance(part, str) else table_parts(part))]
    return "\n\n".join(filter(None, [f"## {section.heading}", section.lead, *parts])) + "\n"


def table_parts(table: Table) -> list[str]:
    """What stands above it, the table, what stands below."""
    rows = [[entry_text(entry) for entry in row] for row in table.rows]
    readings = f"Reading: {' '.join(table.readings)}" if table.readings else ""
    return [table.title, markdown_table(table.header, rows, table.words), readings]


def entry_text(entry: Entry) -> str:
    """`12.3 ± 0.4`, `**12.3** (recalled)`, words, or nothing."""
    text = entry.text or ("" if entry.value is None else number(entry.value, entry.std, entry.digits))
    text = f"**{text}**" if entry.best and text != MISSING else text
    return f"{text} ({entry.mark})" if entry.mark and text else text
