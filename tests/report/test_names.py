"""A name is text in every format: nothing in it is markup, a formula or a script."""

import csv
import shutil
import subprocess

import pytest
from hostile import ALL, NAMES, hostile_project, tables

from pfml.report.files import csv_text, latex, latex_text, table_parts
from pfml.report.markup import cell, code, literal
from pfml.report.page import inline, sorted_by
from pfml.report.table import Entry, table_of, words

ONE_LINE = [name.replace("\r\n", "  ").replace("\n", " ") for name in NAMES]  # a sign of control is a blank


def table():
    columns = [words(f"{literal(name)}", [literal(name), "plain"]) for name in NAMES]
    return table_of("names", f"Of {literal(ALL)}, {code(ALL)}.", columns, [literal(ALL)])


def test_ordinary_names_stay_as_they_are():
    for name in ("resnet50.tv_in1k, 512-d", "x86-64 with AVX2", "AMD EPYC (family 25, model 1)", "cub200_crops", "Ü"):
        assert literal(name) == name and code(name) == f"`{name}`"
        assert latex(literal(name)) == latex(name) and inline(literal(name)) == name


def test_markdown_shows_every_name_in_one_cell():
    renderer = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    _, text, *_ = table_parts(table())
    html = renderer.render(text)
    assert html.count("<th") - html.count("<thead") == html.count("<td") / 2 == len(NAMES)
    tokens = [token for token in renderer.parse(text) if token.type == "inline"]
    assert {child.type for token in tokens for child in token.children} <= {"text", "text_special"}
    shown = ["".join(child.content for child in token.children) for token in tokens[: len(NAMES)]]
    assert shown == [name.strip() for name in ONE_LINE]


def test_html_shows_every_name_and_nothing_else():
    import html

    for name, line in zip(NAMES, ONE_LINE, strict=True):
        text = inline(literal(name))
        assert "<" not in text and html.unescape(text) == line
        assert sorted_by(Entry(text=literal(name))) == line


def test_only_links_to_the_web_and_to_files_are_links():
    assert inline("[a](https://x.org/b?c=1&d)") == '<a href="https://x.org/b?c=1&amp;d">a</a>'
    assert inline("[a](../docs/reports.md)") == '<a href="../docs/reports.md">a</a>'
    for target in (
        "javascript:alert(1)",
        "data:text/html,x",
        "//x.org",
        "http://x.org",
        'x"onclick=1',
        "/etc",
        "JaVa:x",
    ):
        assert "<a" not in inline(f"[a]({target})"), target


def test_a_spreadsheet_runs_no_name():
    rows = list(csv.reader(csv_text(table()).splitlines(keepends=True)))
    for texts in zip(*rows[:2], ONE_LINE):
        assert {text.removeprefix("'") for text in texts} == {texts[2].removeprefix("'")}
    assert not [text for row in rows for text in row if text[:1] in tuple("=@+-\t\r")]
    for text in ("-8.0", "+0.7 % at M 5, +2.1 % at M 20", "plain", "", "–"):
        assert cell(text) == text


def test_latex_has_no_sign_of_a_name():
    for name in NAMES:
        text = latex(literal(name))
        for sign in "#%&":
            assert text.count(sign) == text.count(f"\\{sign}"), (name, text)
        assert all(ord(character) < 0x180 for character in text) and "`" not in text
    assert latex(literal("$x_$ [a] *b*")) == r"\$x\_\$ {[}a{]} {*}b{*}" and latex(literal("文")) == "U+6587"


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here")
def test_latex_of_every_name_compiles(tmp_path):
    text = latex_text(table()).replace(r"\begin{tabular}", r"\tiny\begin{tabular}")
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs}"
    paper = rf"\documentclass{{article}}{packages}\begin{{document}}{text}\end{{document}}"
    (tmp_path / "all.tex").write_text(paper, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert found.returncode == 0 and (tmp_path / "all.pdf").exists(), found.stdout[-2000:]


def test_a_report_of_hostile_files_is_a_report(tmp_path):
    """With every such name in every text: the tables keep their columns, and no cell is a formula."""
    done = tables(hostile_project(tmp_path / "project"))
    assert done.returncode == 0, done.stderr
    renderer = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    for name in ("tables.md", "tuning.md"):
        text = (tmp_path / "project/reports" / name).read_text(encoding="utf-8")
        types = {(child.type, child.content) for t in renderer.parse(text) for child in t.children or ()}
        assert not [one for one in types if one[0] == "html_inline"], name
        links = [
            child.attrs["href"] for t in renderer.parse(text) for child in t.children or () if child.type == "link_open"
        ]
        assert all(link.startswith(("tables", "../docs/", "theory.md")) for link in links), name
        for block in text.split("\n\n"):
            if block.startswith("| "):
                rows = [renderer.render(block).count(tag) for tag in ("<th>", "<th ", "<td>", "<td ")]
                assert (rows[2] + rows[3]) == (rows[0] + rows[1]) * (len(block.splitlines()) - 2), block[:200]
    for path in [*(tmp_path / "project/reports/tables").glob("*.csv"), tmp_path / "project/reports/results.csv"]:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                assert all(text[:1] not in "=@" or not text for text in row), path
