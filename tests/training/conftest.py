import pytest

from pfml.settings.load import load_params
from pfml.settings.runs import find_run, grid_runs
from pfml.training.batches.run_data import RunData
from tests.training.scenes import half
from tests.training.stage_process import workspace  # noqa: F401  a fixture


@pytest.fixture
def data():
    return RunData(half(12, 8, 0), half(6, 8, 1), None, 12)


@pytest.fixture
def run(tiny, write):
    tiny["train"] |= {"epochs": 4, "batch": 20}

    def _run(method="pfml", **train):
        tiny["train"] |= train
        return find_run(grid_runs(load_params(write(tiny))), f"glyphs-{method}-0.0-0")

    return _run
