"""embedding_figures <dataset>: t-SNE map, proxies, wrong labels (with a CSV) and gallery, PNG and PDF."""

import sys
from pathlib import Path

from pfml.stage import run_stage


def main():
    from pfml.figures.gallery import gallery_figure, gallery_view
    from pfml.figures.map import map_figure, map_view
    from pfml.figures.memorisation import histories_of, memorisation, memorisation_figure, write_memorisation
    from pfml.figures.proxy import proxy_figure, proxy_view
    from pfml.report.stamps import runs_digest, stamp
    from pfml.settings.plan import read_plan, read_run

    name, folder = sys.argv[1], Path("reports/figures")
    grid = [read_run(run) for run in read_plan(f"embedding_figures/{name}")["runs"]]
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
