"""Trainings of seconds share a start of DVC."""

from pfml.launch.pipeline import AT_ONCE_SHORT, divided, short_runs
from pfml.settings.load import load_params
from pfml.settings.presets import preset_params
from tests.conftest import ROOT


def test_a_study_on_features_of_a_frozen_trunk_has_short_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert short_runs(preset_params("photos-frozen")) and not short_runs(load_params())


def test_two_jobs_share_a_few_stages_evenly():
    names = [f"train@{i}" for i in range(20)]
    assert list(map(len, divided(names, 2, AT_ONCE_SHORT))) == [8, 8, 4]
    assert list(map(len, divided(names[:6], 2, AT_ONCE_SHORT))) == [3, 3]
    assert list(map(len, divided(names[:3], 2, 1))) == [1, 1, 1]
