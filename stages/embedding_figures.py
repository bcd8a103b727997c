"""embedding_figures <dataset>: t-SNE map, proxies, wrong labels (with a CSV) and gallery, PNG and PDF."""

import sys
from pathlib import Path

from pfml.settings.runs import grid_runs
from pfml.stage import run_stage


def main(params):
    from pfml.figures.gallery import gallery_figure, gallery_view
    from pfml.figures.map import map_figure, map_view
    from pfml.figures.memorisation import histories_of, memorisation, memorisation_figure, write_memorisation
    from pfml.figures.proxy import proxy_figure, proxy_view
    from pfml.report.stamps import runs_digest, stamp

    name, folder = sys.argv[1], Path("reports/figures")
    grid = [run for run in grid_runs(params) if run.dataset == name]
    pictures = {kind: folder / f"{kind}-{name}.png" for kind in ("tsne", "proxies", "memorisation", "gallery")}
    map_figure(*map_view(grid, name), pictures["tsne"])
    proxy_figure(*proxy_view(grid, name), pictures["proxies"])
    rows = memorisation(grid)
    write_memorisation(rows, folder / f"memorisation-{name}.csv")
    memorisation_figure(rows, histories_of(grid), pictures["memorisation"])
    gallery_figure(*gallery_view(grid, name), pictures["gallery"])
    for path in pictures.values():
        stamp(path, runs_digest(grid))


run_stage(main, data=True)
