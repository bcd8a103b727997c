"""train <cell>: one run of the grid, or one fold of mlrc, into models/grid/."""

import sys

from pfml.cells import find_cell, grid_cells, mlrc_cells
from pfml.config import run_stage


def main(params):
    from pfml.run import run_cell

    run_cell(find_cell(grid_cells(params) + mlrc_cells(params), sys.argv[1]), params)


run_stage(main, data=True)
