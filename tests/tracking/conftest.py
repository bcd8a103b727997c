"""A store and a run for the tests of tracking."""

import pytest

from pfml.settings.load import load_params
from pfml.settings.runs import find_run, grid_runs


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a folder that is no clone, whatever the state of this one
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_STAGE", "train@glyphs-pfml-0.2-0")
    return tmp_path


@pytest.fixture
def run(tiny, write):
    return find_run(grid_runs(load_params(write(tiny))), "glyphs-pfml-0.2-0")
