"""gallery <dataset>: reports/figures/gallery-<dataset>.png, what the first run of the grid finds (or of mlrc)."""

import sys
from pathlib import Path

from pfml.config import grid_cells, mlrc_cells, run_stage


def main(params):
    from pfml.evaluation import gallery_of
    from pfml.report.figures import retrieval_gallery

    name = sys.argv[1]
    cell = next(cell for cell in grid_cells(params) + mlrc_cells(params) if cell.dataset == name)
    Path("reports/figures").mkdir(parents=True, exist_ok=True)
    retrieval_gallery(*gallery_of(cell), f"reports/figures/gallery-{name}.png")


run_stage(main, data=True)
