"""wasserstein <dataset>: distances between proxies and data, reports/wasserstein/<study>/<dataset>.csv."""

import sys
from pathlib import Path

from pfml.cells import grid_cells
from pfml.config import run_stage


def main(params):
    from pfml.proxy_distance import measure_wasserstein, write_wasserstein

    name = sys.argv[1]
    rows = measure_wasserstein([cell for cell in grid_cells(params) if cell.dataset == name], params.wasserstein)
    write_wasserstein(rows, Path("reports/wasserstein", params.study, f"{name}.csv"))


run_stage(main, data=True)
