"""train <run>: one run of the grid, or one fold of mlrc, into models/grid/."""

import sys

from pfml.settings.runs import find_run, fold_runs, grid_runs
from pfml.stage import run_stage


def main(params):
    from pfml.training.run import execute

    execute(find_run(grid_runs(params) + fold_runs(params), sys.argv[1]), params)


run_stage(main, data=True)
