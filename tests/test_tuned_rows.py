"""The settings of params.yaml are those that the committed trials chose, with equally many trials for every method."""

import ast
import csv
from collections import defaultdict

from pfml.cells import grid_cells
from pfml.config import load_params
from tests.conftest import ROOT


def test_params_are_the_best_trials():
    trials = defaultdict(lambda: defaultdict(list))
    for row in csv.DictReader((ROOT / "reports/tuning.csv").open()):
        trials[row["method"]][row["trial"]].append(row)
    assert {len(rows) for rows in trials.values()} == {20}
    cells = {cell.method: cell for cell in grid_cells(load_params(ROOT / "params.yaml")) if cell.noise == 0}
    assert set(trials) == set(cells)
    for method, runs in trials.items():
        assert all(sorted(float(r["noise"]) for r in rows) == [0.0, 0.2] for rows in runs.values())
        best = max(runs.values(), key=lambda rows: sum(float(r["val_map@r"]) for r in rows))
        for key, value in ast.literal_eval(best[0]["settings"]).items():
            section, name = key.split(".")
            assert getattr(cells[method], section)[name] == value, f"{method}: {key}"
