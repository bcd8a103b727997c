"""The numbers of docs/findings.md are those of committed searches and results."""

import json
import re
import statistics

import pytest

from pfml.evaluation.trials import best
from pfml.report.settings import read_searches
from tests.committed import committed
from tests.conftest import ROOT

PAGE = (ROOT / "docs/findings.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """First cell -> the others, of the table that follows a text."""
    table = re.search(r"((?:^\|.*\n)+)", PAGE.partition(heading)[2], re.M)[1].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {first: rest for first, *rest in cells}


def test_the_search_on_cars_crops_is_the_committed_one():
    searches = read_searches(committed("reports/tuning"))["cars98"]
    shown = rows("**Frozen features of Cars crops")
    assert set(shown) == set(searches)
    for method, (first, top) in shown.items():
        trials = searches[method]
        assert first == f"{100 * trials[0].score:.1f}" and top == f"{100 * best(trials).score:.1f}", method
    assert [float(top) for _, top in shown.values()] == sorted((float(top) for _, top in shown.values()), reverse=True)
    found = best(searches["pfml_tuned"]).settings
    assert (found["loss.alpha"], found["loss.delta"], found["loss.delta_rep"]) == (3.3, 0.82, 1.1)


@pytest.mark.parametrize("method", ["pfml", "pfml_auto", "pfml_tuned"])
def test_the_numbers_of_glyphs_are_those_of_glyphs_all(method):
    shown = rows("**Glyphs, a network from nothing**")[method]
    folder = committed("reports/runs/glyphs-all")
    expected = []
    for noise in (0.0, 0.2):
        for measure in ("recall@1", "map@r"):
            paths = [folder / f"glyphs-{method}-{noise}-{seed}.json" for seed in range(3)]
            values = [100 * json.loads(path.read_text())[measure] for path in paths]
            expected.append(f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}")
    assert shown == expected
