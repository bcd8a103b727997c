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
    assert (found["loss.alpha"], found["loss.delta"], found["loss.delta_rep"]) == (0.11, 0.7, 1.3)


def results_of(study: str, run: str) -> list[dict]:
    """The committed results of a run's seeds; `run` is a pattern of file names."""
    return [json.loads(path.read_text()) for path in sorted(committed(f"reports/runs/{study}").glob(f"{run}.json"))]


def test_the_numbers_of_unseen_makes_are_those_of_photos_frozen():
    shown = rows("**The same heads on 49 unseen classes**")
    assert {"pfml", "pfml_auto", "pfml_tuned", "proxy_anchor", "multi_similarity", "zero_shot"} <= set(shown)
    for method, cells in shown.items():
        expected = []
        for noise in (0.0, 0.2):
            found = results_of("photos-frozen", f"cars98-{method}-{noise}-*")
            assert len(found) == 3, method
            for measure in ("recall@1", "map@r"):
                values = [100 * result[measure] for result in found]
                spread = f" ± {statistics.stdev(values):.1f}" if method != "zero_shot" else ""
                expected.append(f"{statistics.mean(values):.1f}{spread}")
        assert cells == expected, method
    found = {method: results_of("photos-frozen", f"cars98-{method}-0.2-*") for method in ("pfml_tuned", "proxy_anchor")}
    gains = [100 * (one["recall@1"] - other["recall@1"]) for one, other in zip(*found.values())]
    mean, half = statistics.mean(gains), 4.303 * statistics.stdev(gains) / 3**0.5  # t of two degrees of freedom, 95 %
    assert f"{mean:+.1f} points at 20 % noise\n  (95 % interval {mean - half:.1f} to {mean + half:.1f})" in PAGE


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
