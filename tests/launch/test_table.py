"""The table of one study: committed results of three studies; a result that is no longer the study's is not shown."""

import shutil

import pytest
import yaml

from pfml.evaluation.result_file import FoldsResult, RunResult, read_result
from pfml.launch.table import study_table
from pfml.settings.load import load_params, params_from
from pfml.settings.presets import with_preset
from pfml.settings.runs import by_repeat, fold_runs
from pfml.settings.validation import Loader
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def study(name):
    return params_from(yaml.load(with_preset((ROOT / "params.yaml").read_text(), name), Loader), name)


def rows_of(table):
    header, rule, *lines = table.splitlines()
    assert len({len(line) for line in (header, rule, *lines)}) == 1, "a table on a terminal too"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, *lines)]
    return rows[0], {tuple(row[:2]): row[2:] for row in rows[1:]}


def test_one_seed_and_points_of_ablations():
    header, rows = rows_of(study_table(load_params()))
    assert header == ["Method", "Wrong labels", "R@1, %", "MAP@R, %", "Selected epoch", "Seeds"]
    grid = read_result(ROOT / "reports/runs/glyphs/glyphs-cpml-0.2-0.json", RunResult)
    expected = [f"{100 * grid[key]:.1f}" for key in ("recall@1", "map@r")]
    assert rows["CPML", "20 %"] == [*expected, str(grid["selected_epoch"] or ""), "1"]
    point = read_result(ROOT / "reports/runs/glyphs/ablation/glyphs-pfml-0.0-0-alpha-0.json", RunResult)
    assert rows["PFML, alpha 0", "0 %"][0] == f"{100 * point['recall@1']:.1f}"


def test_several_seeds_have_a_spread():
    _, rows = rows_of(study_table(study("glyphs-all")))
    finished = {point: row for point, row in rows.items() if row[3]}
    assert all(row[3] == "3" and " ± " in row[0] and " ± " in row[1] for row in finished.values())
    assert len({method for method, _ in finished if "," not in method}) == 32


def test_a_cross_validation_is_the_mean_of_its_folds():
    params = study("mlrc-glyphs")
    _, rows = rows_of(study_table(params))
    [first, *_] = by_repeat(fold_runs(params)).values()
    seeds = [
        read_result(folds[0].paths().result, FoldsResult)["separated_map@r"]
        for folds in by_repeat(fold_runs(params)).values()
        if folds[0].method == first[0].method
    ]
    row = next(row for (method, _), row in rows.items() if "mean of 4 folds" in method)
    assert row[1].startswith(f"{100 * sum(seeds) / len(seeds):.1f}") and row[3] == str(len(seeds))


def test_a_result_of_another_configuration_is_not_shown(tmp_path, monkeypatch):
    params = load_params()
    shutil.copytree("reports/runs/glyphs", tmp_path / "reports/runs/glyphs")
    monkeypatch.chdir(tmp_path)
    moved = params.model_copy(update={"loss": params.loss.model_copy(update={"delta": 0.3})})
    _, rows = rows_of(study_table(moved))
    assert rows["PFML", "0 %"] == ["", "", "", ""] and rows["Triplet", "0 %"][0]
    shutil.rmtree(tmp_path / "reports")
    assert study_table(params) == ""
