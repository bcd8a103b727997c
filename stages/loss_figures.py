"""loss_figures: draw Figure 1 and force against distance (with reports/figures/forces.csv) from the settings."""

from pathlib import Path

from pfml.stage import run_stage


def main(params):
    from pfml.figures.force import force_figure
    from pfml.figures.overview import overview_figure
    from pfml.views.forces import DISTANCES, force_curves, write_forces
    from pfml.views.overview import overview

    folder, curves = Path("reports/figures"), force_curves(params)
    write_forces(curves, folder / "forces.csv")
    force_figure(curves, DISTANCES, folder / "forces.png")
    overview_figure(overview(params.loss.alpha, params.loss.delta), folder / "overview.png")


run_stage(main)
