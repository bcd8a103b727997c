"""From a number to its run and back: `pfml where` on the committed results."""

import csv
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from pfml.cli import main
from pfml.launch.cells import cells, is_cell
from pfml.launch.where import describe, find_records, one_each, one_each_result, records
from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.tracking.register import register
from pfml.tracking.store import open_store
from tests import committed
from tests.conftest import ROOT
from tests.tracking.stores import HISTORY


@pytest.fixture
def params(monkeypatch):
    monkeypatch.chdir(committed.project())
    return load_params()


def current_rows() -> list[dict]:
    with committed.committed("reports/results.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["status"] == "current"]


def origins() -> dict[tuple[str, str], dict]:
    found = {}
    for path in (committed.project() / "reports/provenance").glob("*.csv"):
        with path.open(newline="") as file:
            found |= {(path.stem, row["digest"]): row for row in csv.DictReader(file)}
    return found


def test_every_name_of_a_run_leads_to_its_result(params):
    rows, known = current_rows(), origins()
    for row in rows[:: max(1, len(rows) // 5)]:
        own = known.get((row["study"], row["digest"]), {})  # a study has none of a run that another one trained
        for text in filter(None, (row["digest"], row["digest"][:8], own.get("mlflow_run"))):
            found = one_each_result(find_records(text, params))
            assert {one.digest for one in found} == {row["digest"]}, text
            [record] = [one for one in found if one.study == row["study"]] or found
            assert record.result["recall@1"] == pytest.approx(float(row["recall@1"]))
            told = describe(record)
            for fact in (str(record.path), record.origin["git_commit"], record.origin["mlflow_run"], record.row):
                assert fact in told
        assert row["digest"] in [record.digest for record in find_records(f"{row['study']}/{record.name}", params)]


def test_a_number_of_table_2_is_the_mean_of_the_runs_of_its_row(params):
    with (committed.project() / "reports/tables/table-2-study-glyphs.csv").open(newline="") as file:
        shown = {row["Method"]: row for row in csv.DictReader(file)}
    for method, title in (("pfml", "PFML"), ("proxy_anchor", "Proxy Anchor")):
        for noise, column in (("0.0", "clean R@1"), ("0.2", "R@1 at 20 %")):
            text = f"glyphs/{params.model.backbone}/{params.model.embedding_dim}/{method}/{noise}"
            found = [one for one in find_records(text, params) if one.study == "glyphs"]
            mean = statistics.fmean(100 * one.result["recall@1"] for one in found)
            assert mean == pytest.approx(float(shown[title][column]), abs=1e-3), text


def test_a_cell_of_a_table_leads_to_its_runs(params, capsys):
    """The first cells of PFML in tables.md, as they are written there."""
    text = committed.committed("reports/tables.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| PFML |")]
    first = next(row for row in rows if re.fullmatch(r"\**[\d.]+ ± [\d.]+\**", row[1]))
    for cell in first[1:3]:
        found = cells(cell, records(params))
        assert any(one.records[0].row.split("/")[3] == "pfml" and len(one.records) > 1 for one in found), cell
        for one in found:
            mean = 100 * statistics.fmean(record.result[one.measure] for record in one.records)
            assert f"{mean:.1f}" == cell.strip("*").split(" ±")[0]
    assert (
        not cells("123.4", records(params))
        and is_cell("**81.1 ± 0.6**")
        and is_cell("0.123")
        and is_cell("81.1 +- 0.6")
    )
    assert not is_cell("glyphs-pfml-0.2-0") and not is_cell("123456")
    assert main(["where", "99.9 ± 99.9"]) == 2 and "no row of any study" in capsys.readouterr().err
    assert main(["where", first[1]]) == 0 and "of glyphs" in capsys.readouterr().out


def test_a_study_that_shares_a_run_has_the_origin_of_its_own(params, tmp_path, monkeypatch):
    project = tmp_path / "project"
    shutil.copytree(committed.project(), project, symlinks=True)
    monkeypatch.chdir(project)
    with Path("reports/provenance/glyphs.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    other = row | {"git_commit": "f" * 40, "mlflow_run": "e" * 32}
    with Path("reports/provenance/quick.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(other)
    by_study = {one.study: one.origin["git_commit"] for one in find_records(row["digest"], load_params())}
    assert by_study["glyphs"] == row["git_commit"] and by_study.get("quick", "f" * 40) == "f" * 40


def test_a_run_that_two_studies_trained_with_other_results_is_told_twice(params, tmp_path, monkeypatch, capsys):
    project = tmp_path / "project"
    shutil.copytree(committed.project(), project, symlinks=True)
    monkeypatch.chdir(project)
    path = Path("reports/runs/glyphs/glyphs-pfml-0.0-0.json")
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | {"recall@1": 0.125}))
    assert main(["where", result["digest"]]) == 0
    told = capsys.readouterr().out
    for study in ("glyphs", "glyphs-all"):
        assert told.count(f"{study}/glyphs-pfml-0.0-0\n") == 2, told  # of the run, and of its rerun
    assert "recall@1 12.50 %" in told and "none yet" not in told
    assert [one.digest for one in one_each(find_records(result["digest"], params))] == [result["digest"]]


def test_the_id_of_a_row_in_mlflow_leads_to_its_runs(params, tmp_path, monkeypatch):
    run = next(one.run for one in records(params) if one.run and one.result and not one.run.axis)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'store.db'}")
    register([(run, {"recall@1": 0.5, "dataset_digest": "d", "git_commit": "a"}, HISTORY)], "pfml", run.study)
    client, experiment = open_store(f"pfml-{run.study}")
    [row] = client.search_runs([experiment], "tags.level = 'row'")
    found = find_records(row.info.run_id, params)
    assert {one.study for one in found} == {run.study} and run.digest in {one.digest for one in found}


def test_an_unknown_name_is_refused_with_what_was_expected(params):
    for text in ("glyphs-pfml-9-9", "abc", "0" * 32):
        with pytest.raises(
            ConfigError, match="expected the id of an MLflow run, a digest, the name of a run, or a row"
        ):
            find_records(text, params)


def test_rerun_wants_one_run(params):
    done = subprocess.run(
        [sys.executable, "-m", "pfml", "rerun", f"glyphs/{params.model.backbone}/9/pfml/0.0"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "found no such run" in done.stderr
