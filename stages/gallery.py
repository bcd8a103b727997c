"""gallery <dataset>: reports/figures/gallery-<dataset>.png and .pdf, what PFML and the best baseline find."""

import sys
from pathlib import Path

from pfml.cells import grid_cells
from pfml.config import run_stage


def main(params):
    from pfml.figures.gallery import retrieval_gallery
    from pfml.report.stamps import runs_digest, stamp
    from pfml.views.gallery import gallery_of

    name, path = sys.argv[1], Path(f"reports/figures/gallery-{sys.argv[1]}.png")
    grid = [cell for cell in grid_cells(params) if cell.dataset == name]
    retrieval_gallery(*gallery_of(grid, name), path)
    stamp(path, runs_digest(grid))


run_stage(main, data=True)
