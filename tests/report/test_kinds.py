"""A row or claim whose runs were trained by several kinds of processors says so; one of a single kind does not."""

import csv

import pytest
from report_runs import write_provenance, write_wasserstein
from report_studies import pick, preset, runs_of, tables_of, toy, write_all
from test_fold_tables import write as write_folds

from pfml.report.files import csv_text, latex_text, table_parts
from pfml.report.table import MIXED
from pfml.settings.load import params_from
from pfml.settings.presets import read_preset
from pfml.tracking.provenance import PORTABLE
from tests.conftest import ROOT, merge

NOTE = f"{MIXED} mixes kinds of processors: NVIDIA H200; {PORTABLE}."


@pytest.fixture
def reports(tmp_path):
    """Everything on one kind, but CPML's runs of seed 1."""
    study = toy()
    write_all(tmp_path, study, {"pfml": 0.7, "cpml": 0.6, "proxy_anchor": 0.8})
    write_wasserstein(tmp_path, [(run, 0.2, 1.0) for run in study.grid if run.method in ("pfml", "cpml")])
    write_provenance(tmp_path, "toy", {run: kind_of(run) for run in study.runs})
    return tmp_path


def kind_of(run):
    return "NVIDIA H200" if (run.method, run.seed) == ("cpml", 1) else PORTABLE


def marks(table, label=0):
    return {row[label].text for row in table.rows if row[label].mark == MIXED}


@pytest.mark.parametrize("name", ["table-1-study-toy-glyphs", "table-2-study-toy-glyphs", "table-3-study-toy-glyphs",
                                  "beyond-noise-uniform-glyphs-conv3-64"])  # fmt: skip
def test_the_row_that_mixes_is_marked_and_a_line_below_says_what(reports, name):
    table = tables_of(reports, toy())[name]
    assert marks(table) == {"CPML"} and table.note == NOTE
    _, rows, note, _ = table_parts(table)
    assert f"| CPML ({MIXED}) |" in rows and f"| PFML ({MIXED}) |" not in rows and note == NOTE
    cells = {row["Method"]: row["Method mark"] for row in csv.DictReader(csv_text(table).splitlines())}
    assert cells["CPML"] == MIXED and cells["PFML"] == "" and r"($\dagger$)" in latex_text(table)


def test_a_ratio_of_two_kinds_is_marked(reports):
    table = tables_of(reports, toy())["table-3-ratio"]
    assert {row[3].text for row in table.rows if row[0].mark} == {"CPML"} and table.note == NOTE


def test_the_claim_that_mixes_is_marked(reports):
    tables = tables_of(reports, toy())
    claims = tables["summary-claims"]
    marked = {row[0].text for row in claims.rows if row[2].mark == MIXED}
    assert marked == {row[0].text for row in claims.rows if "Decay" in row[0].text or "W2" in row[0].text
                      or "relative" in row[0].text}  # fmt: skip
    assert claims.note == NOTE and marks(tables["summary-evidence"]) == marked


def test_an_ablation_of_another_kind_than_its_default_makes_the_claim_mixed(tmp_path):
    study = toy(ablation={"delta": [0.1]})
    write_all(tmp_path, study, {"pfml": 0.7})
    write_provenance(tmp_path, "toy", {run: "a GPU" if run.axis else PORTABLE for run in study.runs})
    tables = tables_of(tmp_path, study)
    assert marks(tables["ablation-delta-toy"]) == set(), "each point is of one kind"
    assert {row[0].text for row in tables["summary-claims"].rows if row[2].mark} == {
        "It is insensitive to δ from 0.1 to 0.35"
    }


def test_one_kind_and_none_recorded_have_no_mark(reports, tmp_path):
    write_provenance(tmp_path, "toy", {run: PORTABLE for run in toy().runs})
    assert {table.note for table in tables_of(tmp_path, toy()).values()} == {""}
    (tmp_path / "provenance/toy.csv").unlink()
    assert {table.note for table in tables_of(tmp_path, toy()).values()} == {""}


def test_recorded_beside_not_recorded_is_mixed(reports):
    kinds = {run: PORTABLE for run in pick(toy(), "pfml", 0.0, 0)}
    kinds |= {run: PORTABLE for run in pick(toy(), "proxy_anchor") if not run.noise}
    write_provenance(reports, "toy", kinds)
    table = tables_of(reports, toy())["table-1-study-toy-glyphs"]
    assert marks(table) == {"PFML"} and table.note == f"{MIXED} mixes kinds of processors: not recorded; {PORTABLE}."


def test_of_two_results_with_one_digest_the_kind_is_that_of_the_one_shown(reports):
    other = toy(study="other")
    write_all(reports, other, {"cpml": 0.6})
    write_provenance(reports, "other", {run: PORTABLE for run in other.runs})
    tables = tables_of(reports, toy(), other)
    assert marks(tables["table-1-study-toy-glyphs"]) == {"CPML"}
    assert marks(tables_of(reports, other, toy())["table-1-study-other-glyphs"]) == set()


def test_a_row_beside_the_published_is_marked(tmp_path):
    study = preset("cub200-noise")
    write_all(tmp_path, study, {"hist": 0.697})
    write_provenance(tmp_path, "cub200-noise", {run: f"GPU {run.seed}" for run in study.runs})
    table = tables_of(tmp_path, toy(), study)["table-2-run"]
    assert len(table.rows) == 2 and all(row[0].mark == MIXED for row in table.rows)
    assert runs_of(table, 2)["HIST"]["verdict"].text and "GPU 0; GPU 1" in table.note


def test_folds_of_two_kinds_are_mixed(raw, tmp_path, monkeypatch):
    from pfml.report.results import study_of

    monkeypatch.chdir(ROOT)
    changes = {"grid": {"seed": [0]}, "mlrc": {"field": ["pfml"], "baseline": ["contrastive"]}}
    study = study_of(params_from(merge(merge(raw, read_preset("mlrc-cub200")), changes), "mlrc-cub200"))
    write_folds(tmp_path, folds := list(study.folds))
    kinds = {run: "a GPU" if (run.method, run.fold) == ("pfml", 3) else PORTABLE for run in folds}
    write_provenance(tmp_path, "mlrc-cub200", kinds)
    (table,) = [table for name, table in tables_of(tmp_path, study).items() if name.startswith("table-6-mlrc")]
    assert marks(table) == {"PFML"} and f"a GPU; {PORTABLE}" in table.note
