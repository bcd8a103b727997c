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


@pytest.mark.parametrize(
    "dataset, heading, tuned",
    [
        ("cars98", "**Frozen features of Cars crops", {"alpha": 0.11, "delta": 0.7, "delta_rep": 1.3}),
        ("cars98_112", "**Stages that train**", {"alpha": 0.84, "delta": 0.16, "delta_rep": 0.3}),
    ],
)
def test_the_searches_on_cars_crops_are_the_committed_ones(dataset, heading, tuned):
    searches = read_searches(committed("reports/tuning"))[dataset]
    shown = rows(heading)
    assert set(shown) == set(searches)
    for method, (first, top) in shown.items():
        trials = searches[method]
        assert first == f"{100 * trials[0].score:.1f}" and top == f"{100 * best(trials).score:.1f}", method
    assert [float(top) for _, top in shown.values()] == sorted((float(top) for _, top in shown.values()), reverse=True)
    found = best(searches["pfml_tuned"]).settings
    assert {name: found[f"loss.{name}"] for name in tuned} == tuned


def results_of(study: str, run: str) -> list[dict]:
    """The committed results of a run's seeds; `run` is a pattern of file names."""
    return [json.loads(path.read_text()) for path in sorted(committed(f"reports/runs/{study}").glob(f"{run}.json"))]


@pytest.mark.parametrize(
    "study, dataset, heading, seeds",
    [
        ("photos-frozen", "cars98", "**The same heads on 49 unseen classes**", 3),
        ("photos-finetuned", "cars98_112", "**These stages on the same 49 unseen classes**", 2),
    ],
)
def test_the_numbers_of_unseen_makes_are_those_of_the_studies(study, dataset, heading, seeds):
    shown = rows(heading)
    assert {"pfml", "pfml_tuned", "proxy_anchor", "zero_shot"} <= set(shown)
    for method, cells in shown.items():
        expected = []
        for noise in (0.0, 0.2):
            found = results_of(study, f"{dataset}-{method}-{noise}-*")
            assert len(found) == seeds, method
            for measure in ("recall@1", "map@r"):
                values = [100 * result[measure] for result in found]
                spread = f" ± {statistics.stdev(values):.1f}" if method != "zero_shot" else ""
                expected.append(f"{statistics.mean(values):.1f}{spread}")
        assert cells == expected, method


def test_the_gain_over_proxy_anchor_on_frozen_features_is_that_of_the_study():
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
