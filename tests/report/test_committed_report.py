"""The report rendered from the committed results is the committed report, byte for byte.

Results, rendered files, figures, settings and docs are those of HEAD; the code is the working tree's.
"""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import committed
from tests.conftest import ROOT

FILES = ("tables.md", "results.csv", "summary.json", "tuning.md")


def rendered_files(reports: Path) -> dict[str, str]:
    """Name below `reports` -> text, of every file that the report's stages write and Git keeps."""
    paths = [*(reports / name for name in FILES), *(reports / "tables").iterdir()]
    return {str(path.relative_to(reports)): path.read_text(encoding="utf-8") for path in paths}


def first_difference(name: str, committed: str, rendered: str) -> str:
    """`tables.md, line 7: committed "a", rendered "b"`."""
    pairs = zip([*committed.splitlines(), "(end)"], [*rendered.splitlines(), "(end)"])
    for number, (before, now) in enumerate(pairs, start=1):
        if before != now:
            return f"{name}, line {number}:\n  committed {before!r}\n  rendered  {now!r}"
    return f"{name}: ends of lines differ"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with the committed files and the working tree's stages, outside Git."""
    folder = Path(shutil.copytree(committed.project(), tmp_path_factory.mktemp("project") / "copy"))
    shutil.copytree(ROOT / "stages", folder / "stages")
    return folder


def test_the_committed_results_give_the_committed_report(project):
    committed = rendered_files(project / "reports")
    for name in FILES:
        (project / "reports" / name).unlink()
    shutil.rmtree(project / "reports/tables")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-m", "pfml", "tables"], cwd=project, env=environment, check=True)
    rendered = rendered_files(project / "reports")
    assert sorted(rendered) == sorted(committed), "tables came or went"
    differing = [first_difference(n, committed[n], rendered[n]) for n in committed if rendered[n] != committed[n]]
    assert not differing, f"{len(differing)} files differ; the first:\n{differing[0]}"
    page = (project / "reports/index.html").read_text(encoding="utf-8")
    assert page.count("<table ") == len(list((project / "reports/tables").glob("*.csv")))


def test_the_tables_are_short_enough_to_be_read():
    text = committed.committed("reports/tables.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 700 and text.index("**Claims.**") < text.index("## Table 1")


def test_what_differs_between_equal_runs_is_in_no_committed_document():
    """Seconds, commits and ids of MLflow stand in reports/provenance alone."""
    rows = list(csv.DictReader(committed.committed("reports/provenance/glyphs-all.csv").open(newline="")))
    told = {row[key][:8] for row in rows for key in ("mlflow_run", "git_commit")} - {""}
    assert told
    for name, text in rendered_files(committed.project() / "reports").items():
        assert not [one for one in told if one in text], name
        assert "| training s |" not in text and "mlflow_run" not in text, name


def test_the_report_needs_no_training_no_search_and_no_tracker():
    code = "import sys, pfml.report.document, pfml.theory.document; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    modules = set(found.stdout.split())
    assert "pfml.report.results" in modules
    assert not {"pfml.training", "pfml.tuning", "pfml.tracking.mlflow", "mlflow"} & modules
