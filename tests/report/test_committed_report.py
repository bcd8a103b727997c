"""The report rendered from the committed results is the committed report, byte for byte.

Results, rendered files and figures are those of HEAD; code, params.yaml, presets and docs are the working tree's.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

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
    """A folder with the committed reports/ and the working tree's settings and docs, outside Git."""
    folder = tmp_path_factory.mktemp("project")
    archive = subprocess.run(["git", "archive", "HEAD", "reports"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    for name in ("presets", "docs", "stages"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("params.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
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


def test_the_report_needs_no_training_no_search_and_no_tracker():
    code = "import sys, pfml.report.document, pfml.report.theory; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    modules = set(found.stdout.split())
    assert "pfml.report.results" in modules
    assert not {"pfml.training", "pfml.tuning", "pfml.tracking.mlflow", "mlflow"} & modules
