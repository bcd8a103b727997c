"""gallery <dataset>: draw images that PFML and the best baseline retrieve, reports/figures/gallery-<dataset>.png and
.pdf."""

import sys
from pathlib import Path

from pfml.settings.runs import grid_runs
from pfml.stage import run_stage


def main(params):
    from pfml.figures.gallery import retrieval_gallery
    from pfml.report.stamps import runs_digest, stamp
    from pfml.views.gallery import gallery_of

    name, path = sys.argv[1], Path(f"reports/figures/gallery-{sys.argv[1]}.png")
    grid = [run for run in grid_runs(params) if run.dataset == name]
    retrieval_gallery(*gallery_of(grid, name), path)
    stamp(path, runs_digest(grid))


run_stage(main, data=True)
