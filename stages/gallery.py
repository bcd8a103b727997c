"""gallery <dataset>: reports/figures/gallery-<dataset>.png and .pdf, what PFML and the best baseline find."""

import sys

from pfml.cells import grid_cells
from pfml.config import run_stage


def main(params):
    from pfml.gallery import gallery_of
    from pfml.report.gallery_figure import retrieval_gallery

    name = sys.argv[1]
    retrieval_gallery(*gallery_of(grid_cells(params), name), f"reports/figures/gallery-{name}.png")


run_stage(main, data=True)
