"""Every method of a searched study runs with the best of its trials, and all have had as many trials."""

import pytest

from pfml.report.settings import read_searches
from pfml.settings.load import params_from
from pfml.settings.overlay import merge
from pfml.settings.presets import read_preset
from pfml.settings.runs import ablation_runs, grid_runs
from pfml.tuning import best
from tests.committed import committed
from tests.conftest import ROOT


@pytest.fixture
def params_of(monkeypatch, raw):
    monkeypatch.chdir(ROOT)
    return lambda name=None: params_from(merge(raw, read_preset(name)) if name else raw, name or "params.yaml")


@pytest.mark.parametrize("dataset, name", [("glyphs", "glyphs-tune"), ("cars98", "photos-frozen-tune")])
def test_all_methods_had_as_many_trials_of_the_present_space(dataset, name, params_of):
    searches, tune = read_searches(committed("reports/tuning"))[dataset], params_of(name).tune
    assert set(searches) == set(tune.method) >= {"pfml_tuned", "pfml", "cpml", "proxy_anchor", "hist"}
    for method, trials in searches.items():
        assert len(trials) == tune.trials, method
        assert all(trial.noise == tuple(tune.noise) for trial in trials), method
        assert all(set(trial.settings) == set(tune.space_of(method)) for trial in trials), method


@pytest.mark.parametrize("name", [None, "glyphs-all", "glyphs-noise", "photos-frozen"])
def test_a_method_runs_with_its_best_trial(name, params_of):
    params = params_of(name)
    [dataset] = params.grid.dataset
    searches = read_searches(committed("reports/tuning"))[dataset]
    runs = {run.method: run for run in grid_runs(params)}
    of_rules = {"pfml_auto", "zero_shot"} if dataset != "cars98" else {"zero_shot"}  # settings without a search
    assert name is None or set(runs) - of_rules == set(searches)
    assert {"pfml_tuned", "cpml", "proxy_anchor", "triplet"} <= set(runs) & set(searches)
    for method, run in ((method, run) for method, run in runs.items() if method in searches):
        for key, value in best(searches[method]).settings.items():
            section, setting = key.split(".")
            assert getattr(run, section)[setting] == value, f"{method}: {key}"


def test_the_quick_study_is_a_part_of_the_default_one(params_of):
    of_default = {run.name: run.digest for run in grid_runs(params_of())}
    quick = grid_runs(params_of("quick"))
    assert len(quick) == 6 and {run.study for run in quick} == {"quick"} and not ablation_runs(params_of("quick"))
    assert {(run.method, run.noise) for run in quick} == {
        (method, noise) for method in ("pfml", "proxy_anchor", "multi_similarity") for noise in (0.0, 0.2)
    }
    assert all(of_default[run.name] == run.digest for run in quick), "so DVC's cache has them for one another"


@pytest.mark.parametrize("share", [20, 40, 60])
def test_alpha_against_noise_moves_alpha_alone(share, params_of):
    params = params_of(f"glyphs-alpha-{share}")
    [own], points = grid_runs(params), ablation_runs(params)
    assert sorted(run.loss["alpha"] for run in points) == [0, 1, 2, 4, 6] and own.method == "pfml"
    for run in points:
        assert run.loss | {"alpha": own.loss["alpha"]} == own.loss and run.train == own.train
        assert run.noise == own.noise == share / 100
