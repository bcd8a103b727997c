import pytest

from pfml.cells import find_cell, grid_cells
from pfml.config import load_params
from pfml.data.loader import RunData
from tests.training.scenes import half


@pytest.fixture
def data():
    return RunData(half(12, 8, 0), half(6, 8, 1), None, 12)


@pytest.fixture
def cell(tiny, write):
    tiny["train"] |= {"epochs": 4, "batch": 20}

    def _cell(method="pfml", **train):
        tiny["train"] |= train
        return find_cell(grid_cells(load_params(write(tiny))), f"glyphs-{method}-0.0-0")

    return _cell
