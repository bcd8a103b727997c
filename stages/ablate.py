"""ablate <cell>: one run of an ablation axis into models/ablation/<axis>/."""

import sys

from pfml.cells import ablation_cells, find_cell
from pfml.config import run_stage


def main(params):
    from pfml.run import run_cell

    run_cell(find_cell(ablation_cells(params), sys.argv[1]), params)


run_stage(main, data=True)
