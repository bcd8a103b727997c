"""The report of the theory says what the survey found, and no more than that carries."""

import csv
import re
import subprocess
import sys

import pytest

from pfml import theory
from pfml.settings.load import load_params
from pfml.settings.planning import write_plan
from pfml.theory import document as theory_tables
from tests.conftest import ROOT, merge
from tests.theory.cases import rows_of


@pytest.mark.parametrize("share, text", [(0, "0"), (0.001, "<1"), (0.5, "50"), (0.999, ">99"), (1.0, "100")])
def test_only_what_is_exact_reads_0_or_100(share, text):
    assert theory_tables.percent(share) == text


def verdict(change, lower, higher, draws):
    row = {"change": change, "lower": lower / draws, "higher": higher / draws}
    for key, count in (("lower", lower), ("higher", higher)):
        row[f"{key}_from"], row[f"{key}_to"] = theory.wilson(count, draws)
    return row


def test_a_sentence_says_no_more_than_its_interval_carries():
    rows = [
        verdict("", 20, 0, 20),
        verdict("groups=1 spread=0.1", 8, 12, 20),
        verdict("alpha=0", 80, 120, 200),
        verdict("delta=0.4", 30, 10, 40),
    ]
    assert theory_tables._verdicts(rows) == (
        "lower in every draw in 1 of 4 cases, more often lower in 1 of 4 cases (δ 0.4: 75 : 25 %), "
        "more often higher in 1 of 4 cases (α 0: 40 : 60 %), open in 1 of 4 cases (groups 1, spread 0.1: 40 : 60 %)"
    )


def test_the_report_holds_what_the_survey_found(tmp_path):
    rows = rows_of([{"embeddings": 3}, {"start": 2.0}])
    theory_tables.write_theory_csv(rows, tmp_path / "theory.csv")
    theory_tables.render_theory(rows, tmp_path / "theory.md")
    read = list(csv.DictReader((tmp_path / "theory.csv").open()))
    assert len(read) == len(rows) and tuple(read[0]) == tuple(theory_tables.COLUMNS)
    for line, row in zip(read, rows):
        for key, text in line.items():
            assert (
                text == "" if key not in row else text == row[key] or float(text) == pytest.approx(row[key], rel=1e-5)
            )
    text = (tmp_path / "theory.md").read_text()
    first = next(r for r in rows if r["setting"] == "fixed")
    w2 = [f"{first[f'w2_{field}']:.2f} ± {first[f'w2_{field}_error']:.2f}" for field in ("pfml", "cpml")]
    assert f"| base | 4 | {w2[0]} | {w2[1]} | " in text
    # As many embeddings as proxies: last in the tables, with a mark, and in a sentence of their own.
    assert re.findall(r"^\| (\S+ \S+) ¹ \|", text, re.M) == ["n 3", "n 3"] and "n ≤ 2M, outside: " in text
    assert all(f"| `{key}` |" in text for key in theory_tables.COLUMNS)


def test_cases_outside_the_statement_are_not_counted_against_it(tmp_path):
    """A delta of 20 lets balls meet: CPML has many minima there, of which the statement says nothing."""
    rows = rows_of([{"delta": 20.0}, {"delta": 0.01}])
    theory_tables.render_theory(rows, tmp_path / "theory.md")
    text = (tmp_path / "theory.md").read_text()
    cpml = [r for r in rows if r["field"] == "cpml"]
    assert [r["disjoint"] for r in cpml[1:]] == [0, 1] and [r["at_most_one"] for r in cpml[1:]] == [0, 1]
    apart = round(2 * sum(r["disjoint"] for r in cpml))
    summary = " ".join(text[: text.index("Random embeddings")].split())
    assert f"true in {apart} of {apart} sets whose balls do not, and in {4 - apart} of {6 - apart} of the" in summary
    inside, outside = text[text.index("## Proposition 1") :].split("the statement says nothing; where balls meet")
    assert "| δ 0.01 |" in inside and "| δ 20 |" in outside[: outside.index("Such a δ")]


@pytest.mark.long
def test_the_stage_writes_the_same_twice(raw, write, tmp_path):
    few = {"sets": 1, "trials": 2, "trials_small": 2, "changes": [{"alpha": 0.0}], "radii": [0.5], "alphas": [3.0]}
    path = write(merge(raw, {"theory": few | {"base": {"embeddings": 12, "proxies": 3, "dimension": 4}}}))
    write_plan(load_params(path), tmp_path / "data/plan")
    names = ("theory.csv", "theory.md", "figures/field.png")
    written = []
    for _ in range(2):
        found = subprocess.run(
            [sys.executable, ROOT / "stages/theory.py"], cwd=tmp_path, capture_output=True, text=True,
            env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""},
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        written.append([(tmp_path / "reports" / name).read_bytes() for name in names])
    assert written[0] == written[1] and all(written[0])
