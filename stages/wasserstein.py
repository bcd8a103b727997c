"""wasserstein <dataset>: distances between proxies and data, reports/wasserstein/<study>/<dataset>.csv."""

import sys
from pathlib import Path

from pfml.settings.runs import grid_runs
from pfml.stage import run_stage


def main(params):
    from pfml.evaluation.proxies import measure_wasserstein, write_wasserstein

    name = sys.argv[1]
    rows = measure_wasserstein([run for run in grid_runs(params) if run.dataset == name], params.wasserstein)
    write_wasserstein(rows, Path("reports/wasserstein", params.study, f"{name}.csv"))


run_stage(main, data=True)
