"""What the report writes: text from templates and sections (Markdown), every table as CSV (for programs) and as LaTeX
(for papers) from the same data, results.csv with all results on disk, summary.json with R@1 of the study being run.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import jinja2
import pandas as pd

from pfml.evaluation.result_file import RunResult, keys_of
from pfml.report.groups import over_seeds, recall_levels
from pfml.report.markup import FIRST, cell, opened, shielded
from pfml.report.names import MISSING, number
from pfml.report.results import Studies
from pfml.report.table import Entry, Section, Table
from pfml.settings.files import write_whole

ENDINGS = (".csv", ".tex")
CHARACTERS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': "''",
    "±": r"$\pm$", "–": "--", "−": r"$-$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\to$",
    "α": r"$\alpha$", "δ": r"$\delta$", "Ψ": r"$\Psi$", "·": r"$\cdot$", "…": r"\ldots{}",
    "†": r"$\dagger$",
}  # fmt: skip
NAMED = {
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "`": r"\char96{}",
    "!": "!",
}  # in names
LATIN = 0x17F  # the last letter that every LaTeX has; of others their number stands


def fill(name: str, filters: Mapping[str, Callable] | None = None, **values) -> str:
    """One of templates/ filled with values; in an HTML page all is escaped that the template does not mark as safe."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pfml.report"), autoescape=name.endswith(".html"), keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters.update(filters or {})
    return environment.get_template(name).render(**values)


def document(preamble: str, sections: Sequence[Section]) -> str:
    return "\n".join([preamble, *map(section_text, sections)])


def section_text(section: Section) -> str:
    """The section in Markdown, with a line that names the tables left to their files."""
    shown = [part for part in section.parts if isinstance(part, str) or part.listed]
    parts = [text for part in shown for text in ([part] if isinstance(part, str) else table_parts(part))]
    others = ", ".join(f"[{table.name}](tables/{table.name}.csv)" for table in section.tables if not table.listed)
    more = f"More tables: {others}." if others else ""
    return "\n\n".join(filter(None, [f"## {section.heading}", section.lead, *parts, more])) + "\n"


def table_parts(table: Table) -> list[str]:
    """What stands above it, the table, what stands below. Columns of words are set left, of numbers right."""
    marks = [":---" if words else "---:" for words in table.words]
    rows = [table.header, marks, *(map(entry_text, row) for row in table.rows)]
    readings = f"Reading: {' '.join(table.readings)}" if table.readings else ""
    return [table.title, "\n".join(f"| {' | '.join(row)} |" for row in rows), table.note, readings]


def entry_text(entry: Entry) -> str:
    """`12.3 ± 0.4`, `**12.3** (recalled)`, words, or nothing."""
    text = entry.text or ("" if entry.value is None else number(entry.value, entry.std, entry.digits))
    text = f"**{text}**" if entry.best and text != MISSING else text
    return f"{text} ({entry.mark})" if entry.mark and text else text


def write_tables(tables: Iterable[Table], folder: str | Path) -> None:
    """A CSV and a LaTeX file for each table, in place of those that are there.

    Raises:
        ValueError: two tables of one name; nothing is written.
    """
    folder, texts = Path(folder), {}
    for table in tables:
        if f"{table.name}.csv" in texts:
            raise ValueError(f"{folder}/{table.name}: two tables of the report have this name; expected one")
        texts |= {f"{table.name}.csv": csv_text(table), f"{table.name}.tex": latex_text(table)}
    for name, text in texts.items():
        write_whole(folder / name, text)
    for path in folder.iterdir():
        if path.suffix in (*ENDINGS, ".part") and path.name not in texts:
            path.unlink()


def csv_text(table: Table) -> str:
    """Numbers with six digits. A column of numbers is followed by those of its entries' spreads (`<column> std`), of
    the words that stand in a number's place (`<column> note`) and of the marks of sources (`<column> mark`), each only
    where there are any.
    """
    header, cells = [], []
    columns = zip(*table.rows) if table.rows else [()] * len(table.header)
    for name, words, entries in zip(table.header, table.words, columns):
        whole = words or all(entry.value is None for entry in entries)
        parts = {
            name: [_plain(entry.text) if whole else _number(entry.value) for entry in entries],
            f"{name} std": [_number(entry.std) for entry in entries],
            f"{name} note": ["" if whole else _plain(entry.text) for entry in entries],
            f"{name} mark": [_plain(entry.mark) for entry in entries],
        }
        for heading, texts in parts.items():
            if heading == name or any(texts):
                header.append(_plain(heading))
                cells.append(texts)
    return pd.DataFrame(list(zip(*cells)), columns=header).to_csv(index=False, lineterminator="\n")


def _number(value: float | None) -> str:
    return "" if value is None else format(value + 0.0, ".6g")


def _plain(text: str) -> str:
    """Without Markdown's signs; a dash is no number and no word."""
    return "" if text == MISSING else cell(opened(shielded(text).replace("**", "").replace("`", "")))


def latex_text(table: Table) -> str:
    """A `table` with booktabs' rules, for \\input after \\usepackage{booktabs}; caption and label of its own."""
    marks = "".join("l" if words else "r" for words in table.words)
    rows = [" & ".join(_latex_entry(entry) for entry in row) + r" \\" for row in table.rows]
    lines = [
        r"\begin{table}[htbp]", r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{latex(table.title)}}}", rf"\label{{tab:{table.name}}}", rf"\begin{{tabular}}{{{marks}}}",
        r"\toprule", " & ".join(map(latex, table.header)) + r" \\", r"\midrule", *rows,
        r"\bottomrule", r"\end{tabular}", *([rf"\par {latex(table.note)}"] if table.note else []), r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _latex_entry(entry: Entry) -> str:
    if entry.text:
        text = latex(entry.text)
    else:
        spread = "" if entry.std is None else rf" $\pm$ {entry.std:.{entry.digits}f}"
        text = "" if entry.value is None else entry.printed.replace("-", "$-$") + spread
    text = rf"\textbf{{{text}}}" if entry.best else text
    return text + (f" ({latex(entry.mark)})" if entry.mark and text else "")


def latex(text: str) -> str:
    """Plain text with `code`, **bold** and [links](...) of Markdown as LaTeX; Latin letters stay, of others their
    number in Unicode stands.
    """
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", shielded(text))
    parts = []
    for part in re.split(r"(`[^`]*`|\*\*[^*]*\*\*)", text):
        inner = opened("".join(map(_latex_character, part.strip("`*"))), (CHARACTERS | NAMED).__getitem__)
        command = {"`": "texttt", "*": "textbf"}.get(part[:1]) if len(part) > 1 and part[0] == part[-1] else None
        parts.append(rf"\{command}{{{inner}}}" if command else inner)
    return "".join(parts)


def _latex_character(character: str) -> str:
    foreign = LATIN < ord(character) < FIRST and character not in CHARACTERS
    return f"U+{ord(character):04X}" if foreign else CHARACTERS.get(character, character)


LEFT_OUT = ("run", "recall@1", "dataset_digest", "weights", "proxies_per_class", "w2_measure")  # of results.csv


def write_results_csv(files: pd.DataFrame, path: str | Path) -> None:
    """reports/results.csv: one line per finished run of every study, fractions as measured, six significant digits."""
    keys = [key for key in keys_of(RunResult) if key not in LEFT_OUT]
    first = keys.index("digest") + 1
    recalls = [f"recall@{k}" for k in sorted({1, 2, 4, 8, *recall_levels(files)})]
    columns = [*keys[:first], *recalls, *keys[first:], "weights", "status"]
    status = files.current.map({True: "current", False: "other"})
    table = files.assign(status=status).reindex(columns=columns)
    table = table.map(lambda value: cell(value) if isinstance(value, str) else value)
    write_whole(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def write_summary(studies: Studies, path: str | Path) -> None:
    """R@1 in percent (mean over seeds) per dataset, method and noise: the columns of `dvc exp show`."""
    grid = studies.grid[studies.grid.study == studies.running.name]
    summary: dict = {}
    for (dataset, method, noise), recall in over_seeds(grid, ["dataset", "method", "noise"], "recall@1").items():
        row = summary.setdefault(dataset, {}).setdefault(method, {})
        row[f"noise {noise:g}" if noise else "clean"] = None if recall.mean is None else round(100 * recall.mean, 2)
    write_whole(path, json.dumps(summary, indent=1) + "\n")
