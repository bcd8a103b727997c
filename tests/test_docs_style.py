"""The pages stay readable: a short README, short table rows, links that lead somewhere, no page that none leads to."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").glob("*.md"))]
LONGEST_ROW = 400  # characters; a longer one is text
README_LINES = 150  # three screens


def prose(page: Path) -> str:
    """The page without fenced blocks, whose text is no Markdown."""
    return re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.M | re.S)


def links(page: Path) -> list[tuple[Path, str]]:
    """(file, anchor) of every link that stays in the project."""
    found = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", prose(page))
    return [((page.parent / path).resolve() if path else page, anchor) for path, anchor in found]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_fits_on_three_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_table_row_is_a_paragraph(page):
    long = [line[:60] for line in prose(page).splitlines() if line.startswith("|") and len(line) > LONGEST_ROW]
    assert long == [], f"over {LONGEST_ROW} characters: split the row, or write a section"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_file_and_a_heading(page):
    for target, anchor in links(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target.name}#{anchor}"


def test_every_page_is_reachable_from_readme():
    seen, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        seen.add(page)
        left += [target for target, _ in links(page) if target.suffix == ".md" and target not in seen]
    assert {page.name for page in PAGES if page not in seen} == set()
