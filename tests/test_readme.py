"""The README tells the truth: what it quotes, names and links exists."""

import re

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_the_excerpt_is_part_of_the_tables():
    excerpt = README.split("<!-- excerpt of reports/tables.md -->")[1].split("<!-- end -->")[0].strip()
    lines = excerpt.splitlines()
    assert len(lines) > 5
    tables = (ROOT / "reports/tables.md").read_text().splitlines()
    assert [line for line in lines if line not in tables] == []


def test_links_and_make_targets_exist():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target
