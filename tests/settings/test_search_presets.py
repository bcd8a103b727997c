"""A preset that searches settings for another one has that one's study, and brings back its searches alone."""

import shutil

import pytest

from pfml.launch.results import results_of
from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.settings.presets import every_params, is_search, preset_names, preset_params
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_which_presets_search_for_others():
    found = {name for name in preset_names() if is_search(name)}
    assert {"photos-frozen-tune", "photos-frozen-birds-tune"} <= found
    assert not found & {"photos-frozen", "photos-frozen-birds", "glyphs-all", "cub200-resnet50"}


def test_every_study_has_one_name_and_a_search_no_other():
    studies = [params.study for params in every_params(load_params())]
    assert len(set(studies)) == len(studies) and studies.count("photos-frozen") == 1
    assert preset_params("photos-frozen-tune").study == "photos-frozen"
    of_search = next(params for params in every_params(load_params()) if params.study == "photos-frozen")
    assert not of_search.tune.method, "results are those of the preset itself"


def test_it_brings_back_its_trials_alone(tmp_path, monkeypatch):
    params = preset_params("photos-frozen-tune")
    monkeypatch.chdir(tmp_path)
    for name in ("tuning/cars98/pfml.csv", "runs/photos-frozen/cars98-pfml-0.2-0.json", "provenance/photos-frozen.csv"):
        (tmp_path / "reports" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "reports" / name).touch()
    assert results_of(params, own=False) == ["reports/tuning/cars98/pfml.csv"]


def test_two_presets_with_results_of_one_name_are_refused(tmp_path, monkeypatch):
    for name in ("presets", "params.yaml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "presets/other.yaml").write_text("study: photos-frozen\nover: photos-frozen\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="study: expected a name of its own, found 'photos-frozen'"):
        list(every_params(load_params(), tell=lambda line: None))
