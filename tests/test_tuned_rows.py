"""Every method of glyphs-all runs with the best of its trials, and all have had as many trials."""

import pytest

from pfml.cells import ablation_cells, grid_cells
from pfml.config import params_from
from pfml.losses import LOSSES
from pfml.presets import read_preset
from pfml.report.tuning_table import read_searches
from pfml.settings.overlay import merge
from pfml.tuning import best
from tests.conftest import ROOT


@pytest.fixture
def params_of(monkeypatch, raw):
    monkeypatch.chdir(ROOT)
    return lambda name=None: params_from(merge(raw, read_preset(name)) if name else raw, name or "params.yaml")


def test_all_methods_had_as_many_trials_of_the_present_space(params_of):
    searches, tune = read_searches(ROOT / "reports/tuning")["glyphs"], params_of("glyphs-tune").tune
    assert set(searches) == set(tune.method) == {"pfml_tuned", *LOSSES}
    assert {len(trials) for trials in searches.values()} == {tune.trials}
    for method, trials in searches.items():
        assert all(set(trial.settings) == set(tune.space_of(method)) for trial in trials), method
        assert all(trial.noise == tuple(tune.noise) for trial in trials), method


@pytest.mark.parametrize("name", [None, "glyphs-all", "glyphs-noise"])
def test_a_method_runs_with_its_best_trial(name, params_of):
    searches, params = read_searches(ROOT / "reports/tuning")["glyphs"], params_of(name)
    cells = {cell.method: cell for cell in grid_cells(params)}
    assert name is None or set(cells) == set(searches)
    for method, cell in cells.items():
        for key, value in best(searches[method]).settings.items():
            section, setting = key.split(".")
            assert getattr(cell, section)[setting] == value, f"{method}: {key}"


@pytest.mark.parametrize("share", [20, 40, 60])
def test_alpha_against_noise_moves_alpha_alone(share, params_of):
    params = params_of(f"glyphs-alpha-{share}")
    [own], points = grid_cells(params), ablation_cells(params)
    assert sorted(cell.loss["alpha"] for cell in points) == [0, 1, 2, 4, 6] and own.method == "pfml"
    for cell in points:
        assert cell.loss | {"alpha": own.loss["alpha"]} == own.loss and cell.train == own.train
        assert cell.noise == own.noise == share / 100
