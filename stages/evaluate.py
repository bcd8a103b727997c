"""evaluate <cell>: retrieval measures of a trained run into reports/runs/<study>/."""

import sys

from pfml.cells import ablation_cells, find_cell, grid_cells
from pfml.config import run_stage


def main(params):
    from pfml.evaluation import evaluate_cell

    cell = find_cell(grid_cells(params) + ablation_cells(params), sys.argv[1])
    result = evaluate_cell(cell, params)
    print(f"{cell.name:<34} R@1 {100 * result['recall@1']:.1f} %, MAP@R {100 * result['map@r']:.1f} %")


run_stage(main, data=True)
