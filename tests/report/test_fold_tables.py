"""Tables 6 and 7: which results count, means with their intervals, what stands beside them."""

import copy
import json
import re

import pandas as pd
import pytest
from report_runs import table_after

from pfml.evaluation.result_file import FOLD_MEASURES
from pfml.report.claims import half_width
from pfml.report.document import PREAMBLE, report_sections
from pfml.report.files import document
from pfml.report.inputs import read_folds, read_runs
from pfml.report.results import Study, finished, study_of, with_results
from pfml.settings.load import params_from
from pfml.settings.overlay import merge
from pfml.settings.presets import every_params, read_preset
from pfml.settings.runs import by_repeat, fold_runs
from tests.conftest import ROOT

SMALL = {
    "grid": {"seed": [0, 1]}, "split": {"folds": 2},
    "mlrc": {"field": ["pfml"], "baseline": ["contrastive", "n_pair"], "fold": [0, 1]},
}  # fmt: skip


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def params(raw):
    """A preset with three methods, two repeats and two folds."""

    def _params(name="mlrc-cub200", **changes):
        settings = merge(merge(raw, read_preset(name)), copy.deepcopy(SMALL))
        return params_from(merge(settings, changes), name)

    return _params


def write(reports, runs, shift=0.0, name=None, **changes):
    """A result for every cross validation of `runs`: separated MAP@R 0.2 + shift of the repeat's seed / 100."""
    for (study, repeat), folds in by_repeat(runs).items():
        value = 0.2 + shift + folds[0].seed / 100
        found = {"study": study, "dataset": folds[0].dataset, "method": folds[0].method, "folds": len(folds)}
        for i, (kind, measure) in enumerate(FOLD_MEASURES):
            found[f"{kind}_{measure}"] = round(value + i / 10, 6)
        for k, run in enumerate(folds):
            found |= {
                f"fold{k}_digest": run.digest,
                f"fold{k}_map@r": value + k / 10,
            }
            found |= {f"fold{k}_recall@1": 0.5}
        path = reports / "runs" / study / "mlrc" / f"{name or repeat}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found | {"dataset_digest": "d"} | changes))
        lines = ["fold,epoch,loss,val_recall@1,val_map@r", *(f"{k},{e},1.5,,0.{e}" for k in (0, 1) for e in (1, 2))]
        path.with_suffix(".csv").write_text("\n".join(lines) + "\n")


def rendered(reports, runs):
    """The report of one study that asks for these folds and nothing else."""
    return document(PREAMBLE, report_sections(results_of(reports, runs)))


def results_of(reports, runs):
    return with_results([Study(runs[0].study, folds=runs)], reports)


def ours(text, table):
    """Rows of our own table of a section: below the published one, which has a network in its first column."""
    section = text.split(f"## {table}\n")[1].split("\n## ")[0]
    start = section.index("Study `")
    return table_after(f"\n## x\n{section[start:]}", "x")


def test_the_interval_is_students():
    assert half_width([0.5, 0.7]) == pytest.approx(12.7062 * 0.1414214 / 2**0.5, rel=1e-4)  # t(0.975, 1)
    assert half_width([0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(2.77645 * 0.1581139 / 5**0.5, rel=1e-4)  # t(0.975, 4)
    assert half_width([0.25]) is half_width([]) is None


def test_rows_of_ours_have_intervals_and_n(params, tmp_path):
    runs = fold_runs(params())
    write(tmp_path, [run for run in runs if run.method == "pfml"], 0.1)
    write(tmp_path, [run for run in runs if (run.method, run.seed) == ("contrastive", 0)])
    text = rendered(tmp_path, runs)
    rows = ours(text, "Table 6")
    assert rows["PFML"]["separated R@1"] == "**30.50 ± 6.35**" and rows["PFML"]["n"] == "2"
    assert rows["PFML"]["concatenated MAP@R"] == "**80.50 ± 6.35**"
    assert rows["Contrastive"]["separated R@1"] == "20.00" and rows["Contrastive"]["n"] == "1 of 2"
    assert set(list(rows["N-Pair"].values())[1:]) == {""} and list(rows) == ["PFML", "Contrastive", "N-Pair"]
    section = text.split("## Table 6\n")[1].split("\n## ")[0]
    assert "Not comparable with any published number: Tables 6 and 7 are of 4 networks of 128 dimensions." in section
    other = text.split("## Table 7\n")[1].split("\n## ")[0]
    assert "Study `" not in other and "**Not run: 54 of 102 published numbers.**" in other


def test_another_dataset_stands_in_the_first_table_without_published_columns(params, tmp_path):
    runs = fold_runs(params("mlrc-glyphs", mlrc={"baseline": ["contrastive"]}))
    write(tmp_path, runs)
    text = rendered(tmp_path, runs)
    rows = ours(text, "Table 6")
    assert list(rows) == ["PFML", "Contrastive"] and not [key for key in rows["PFML"] if "published" in key]
    six, seven = (text.split(f"## Table {n}\n")[1].split("\n## ")[0] for n in (6, 7))
    assert "number: glyphs is no dataset of Tables 6 and 7." in six and "Study `" not in seven


def test_a_result_is_taken_by_the_digests_of_all_its_folds_and_never_by_its_name(params, tmp_path):
    runs, moved = fold_runs(params()), fold_runs(params(loss={"absent_proxies": False}))
    pfml, older = ([c for c in found if c.method == "pfml"] for found in (runs, moved))
    write(tmp_path, older)
    assert "Outside the present configuration, in no row: `mlrc-cub200/cub200-pfml-0`" in rendered(tmp_path, runs)
    assert "| PFML |" not in rendered(tmp_path, runs).split("## Table 6\n")[1].split("\n## ")[0]
    write(tmp_path, [c for c in pfml if c.seed == 0], name="whatever")
    rows = ours(rendered(tmp_path, runs), "Table 6")
    assert rows["PFML"]["n"] == "1 of 2" and rows["PFML"]["separated R@1"] == "20.00"
    half = [pfml[0], older[1]]  # one fold of each configuration
    assert by_repeat(half) and not results_of(tmp_path, half).folds.measured.any()


def test_single_runs_and_cross_validations_do_not_read_each_others_files(params, tmp_path):
    write(tmp_path, fold_runs(params()))
    assert read_runs(tmp_path / "runs").empty
    (tmp_path / "runs/mlrc").mkdir()  # a study of that name
    (tmp_path / "runs/mlrc/run.json").write_text("{}")
    with pytest.raises(ValueError, match=r"mlrc/run\.json: study: missing"):
        read_runs(tmp_path / "runs")
    assert len(read_folds(tmp_path / "runs")) == 6


@pytest.mark.parametrize("change, message", [
    ({"folds": 1}, "folds: Input should be greater than or equal to 2, found 1"),
    ({"folds": None}, "folds: Input should be a valid integer, found None"),
    ({"fold1_digest": None}, "fold1_digest: expected text, found None"),
    ({"study": 3}, "study: Input should be a valid string, found 3"),
    ({"separated_map@r": 41.5}, r"separated_map@r: expected a fraction in \[0, 1\], found 41\.5"),
    ({"concatenated_recall@1": None}, "concatenated_recall@1: expected a fraction"),
])  # fmt: skip
def test_a_file_that_cannot_be_used_is_named_with_its_key(params, tmp_path, change, message):
    write(tmp_path, fold_runs(params())[:2], **change)
    with pytest.raises(ValueError, match=re.escape("cub200-pfml-0.json: ") + message):
        read_folds(tmp_path / "runs")
    (tmp_path / "runs/mlrc-cub200/mlrc/cub200-pfml-0.json").write_text("{")
    with pytest.raises(ValueError, match=r"cub200-pfml-0\.json: not a readable JSON"):
        read_folds(tmp_path / "runs")


def test_every_preset_of_the_protocol_is_asked_for_once(params, raw):
    def folds(running):
        return [run for found in every_params(running) for run in study_of(found).folds]

    plain = folds(params_from(raw, "params.yaml"))
    assert {run.study for run in plain} == {"mlrc-cub200", "mlrc-cars196", "mlrc-glyphs"}
    present = folds(params())  # a preset laid over, and changed
    own = [run for run in present if run.study == "mlrc-cub200"]
    assert len(own) == 12 and present[:12] == own
    others = {run.digest for run in plain if run.study != "mlrc-cub200"}
    assert {run.digest for run in present[12:]} == others, "what is laid over does not move the other presets"


def test_each_fold_comes_with_its_own_measures_and_history(params, tmp_path):
    runs = fold_runs(params())
    write(tmp_path, runs[:4])  # pfml, both seeds
    origin = pd.DataFrame([{"digest": runs[1].digest, "kind": "GPU", "mlflow_run": "run1"}])
    found = finished(results_of(tmp_path, runs), origin)
    assert [run for run, *_ in found] == runs[:4]
    _, numbers, history = found[1]
    assert (numbers["map@r"], numbers["mlflow_run"]) == (pytest.approx(0.3), "run1") and numbers["kind"] == "GPU"
    assert (
        numbers["concatenated_map@r"] == 0.7 and numbers["dataset_digest"] == "d" and "separated_map@r" not in numbers
    )
    assert history == [
        {"epoch": 1, "loss": 1.5, "val_recall@1": None, "val_map@r": 0.1},
        {"epoch": 2, "loss": 1.5, "val_recall@1": None, "val_map@r": 0.2},
    ]
    path = tmp_path / "runs/mlrc-cub200/mlrc/cub200-pfml-0.csv"
    path.write_text("fold,epoch\n0,one\n")
    with pytest.raises(ValueError, match=r"cub200-pfml-0\.csv: epoch: expected numbers"):
        finished(results_of(tmp_path, runs), origin)
