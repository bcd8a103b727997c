"""tune <method>: its search on validation classes, reports/tuning/<dataset>/<method>.csv."""

import sys
from pathlib import Path

from pfml.stage import run_stage


def main(params):
    from pfml.tracking.mlflow import log_search
    from pfml.tuning import best, tune_method

    method, dataset = sys.argv[1], params.grid.dataset[0]
    out = Path("reports/tuning", dataset, f"{method}.csv")
    trials = tune_method(params, method, out)
    log_search(params, method, trials, best(trials), out)


run_stage(main, data=True)
