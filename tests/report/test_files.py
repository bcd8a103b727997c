"""One table, three formats: Markdown, CSV and LaTeX hold the same cells."""

import csv
import re
import shutil
import subprocess

import pytest
from report_studies import preset, tables_of, toy, write_all

from pfml.report.files import csv_text, entry_text, latex, latex_text, table_parts, write_tables
from pfml.report.results import Summary
from pfml.report.table import DASH, EMPTY, Column, Entry, numbers, percent, seeds, table_of, words


def example():
    columns = [
        words("Method", ["A & B_1", "`x` 50 %", "last"]),
        Column("R@1", [Entry(70.456, 0.123), Entry(71.2), EMPTY], "high"),
        Column("published", [DASH, Entry(66.7, mark="recalled"), Entry(text="not recovered")]),
        Column("n", [Entry(3, digits=0), seeds(Summary(0.5, None, 1, 3)), EMPTY]),
    ]
    return table_of("example", "**Title** of `δ`, ±.", columns, ["It reads."])


def test_markdown():
    title, table, note, reading = table_parts(example())
    assert title == "**Title** of `δ`, ±." and (note, reading) == ("", "Reading: It reads.")
    assert table.splitlines()[1:] == [
        "| :--- | ---: | ---: | ---: |",
        "| A & B_1 | 70.5 ± 0.1 | – | 3 |",
        "| `x` 50 % | **71.2** | 66.7 (recalled) | 1 of 3 |",
        "| last |  | not recovered |  |",
    ]


def test_csv_has_numbers_in_full_and_words_beside_them():
    rows = list(csv.DictReader(csv_text(example()).splitlines()))
    assert [row["R@1"] for row in rows] == ["70.456", "71.2", ""] and rows[0]["R@1 std"] == "0.123"
    assert [row["published"] for row in rows] == ["", "66.7", ""]
    assert (rows[1]["published mark"], rows[2]["published note"]) == ("recalled", "not recovered")
    assert (rows[1]["n"], rows[1]["n note"], rows[1]["Method"]) == ("1", "1 of 3", "x 50 %")


def test_latex_escapes_what_latex_would_read_otherwise():
    lines = latex_text(example()).splitlines()
    assert r"A \& B\_1 & 70.5 $\pm$ 0.1 & -- & 3 \\" in lines
    assert r"\texttt{x} 50 \% & \textbf{71.2} & 66.7 (recalled) & 1 of 3 \\" in lines
    assert r"\caption{\textbf{Title} of \texttt{$\delta$}, $\pm$.}" in lines
    assert (
        latex("[words](a_link.md) #1 {x} ~ ^ \\")
        == r"words \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )


@pytest.fixture
def written(tmp_path):
    """The files of a report of three studies, one of them of the paper's."""
    for study, recall in ((toy(), 0.7), (preset("cub200-resnet50"), 0.734), (preset("cub200-noise"), 0.6)):
        write_all(tmp_path, study, {"pfml": recall, "cpml": recall - 0.05, "hist": recall})
    tables = tables_of(tmp_path, toy(), preset("cub200-resnet50"), preset("cub200-noise"))
    write_tables(tables.values(), tmp_path / "tables")
    return tables, tmp_path / "tables"


def test_every_table_of_the_report_is_a_csv_with_its_rows(written):
    tables, folder = written
    assert {path.stem for path in folder.iterdir()} == set(tables) and len(tables) > 30
    for name, table in tables.items():
        with open(folder / f"{name}.csv", newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        assert len(rows) == len(table.rows) and len(header) == len(set(header)), name
        for heading, entries in zip(table.header, zip(*table.rows)):
            column = [row[header.index(heading.replace("`", ""))] for row in rows]
            for text, entry in zip(column, entries):
                if entry.value is not None:
                    assert float(text) == pytest.approx(entry.value, rel=1e-4, abs=1e-6), (name, heading)


def test_every_latex_row_has_as_many_cells_as_its_header(written):
    tables, folder = written
    for name, table in tables.items():
        text = (folder / f"{name}.tex").read_text()
        body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(lines) == len(table.rows) + 1 and text.isascii(), name
        assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {len(table.header) - 1}, name


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here")
def test_latex_compiles(written):
    tables, folder = written
    inputs = "".join(rf"\input{{{name}.tex}}\clearpage" for name in tables)
    paper = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{inputs}\end{{document}}"
    (folder / "all.tex").write_text(paper)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert found.returncode == 0 and (folder / "all.pdf").exists(), found.stdout[-2000:]


def test_files_of_tables_that_are_no_more_go_and_others_stay(tmp_path):
    for name in ("old.csv", "old.tex", "notes.txt"):
        (tmp_path / name).write_text("x")
    write_tables([example()], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"example.csv", "example.tex", "notes.txt"}
    with pytest.raises(ValueError, match="two tables of the report have this name"):
        write_tables([example(), example()], tmp_path)


def test_the_best_is_marked_with_all_that_print_the_same():
    entries = [Entry(70.04), Entry(70.01), Entry(69.9), EMPTY, DASH]
    assert [e.best for e in Column("", entries, "high").marked()] == [True, True, False, False, False]
    assert [e.best for e in Column("", entries, "low").marked()] == [False, False, True, False, False]
    assert not any(e.best for e in Column("", [Entry(70.0), EMPTY], "high").marked())  # one alone


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"table t: expected columns of one length, found \{'a': 1, 'b': 2\}"):
        table_of("t", "", [words("a", ["x"]), numbers("b", [1.0, 2.0])])


def test_an_entry_without_a_run_is_empty_everywhere():
    nothing = Summary(None, None, 0, 3)
    assert percent(nothing) == percent(None) == seeds(nothing) == EMPTY and EMPTY.empty
    assert entry_text(EMPTY) == "" and entry_text(Entry(-0.01)) == "0.0"
