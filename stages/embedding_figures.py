"""embedding_figures <dataset>: t-SNE map, proxies among embeddings, fitted wrong labels (PNG and PDF, with a CSV)."""

import sys
from pathlib import Path

from pfml.settings.runs import grid_runs
from pfml.stage import run_stage


def main(params):
    from pfml.figures.map import map_figure
    from pfml.figures.memorisation import memorisation_figure
    from pfml.figures.proxy import proxy_figure
    from pfml.report.results import read_history
    from pfml.report.stamps import runs_digest, stamp
    from pfml.views.embeddings import map_view, proxy_view
    from pfml.views.memorisation import memorisation, write_memorisation

    name, folder = sys.argv[1], Path("reports/figures")
    grid = [run for run in grid_runs(params) if run.dataset == name]
    map_figure(*map_view(grid, name), folder / f"tsne-{name}.png")
    proxy_figure(*proxy_view(grid, name), folder / f"proxies-{name}.png")
    rows = memorisation(grid)
    write_memorisation(rows, folder / f"memorisation-{name}.csv")
    histories = [(run.method, float(run.noise), read_history(run.paths().model / "history.csv")) for run in grid]
    memorisation_figure(rows, histories, folder / f"memorisation-{name}.png")
    for kind in ("tsne", "proxies", "memorisation"):
        stamp(folder / f"{kind}-{name}.png", runs_digest(grid))


run_stage(main, data=True)
