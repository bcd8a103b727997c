"""loss_figures: Figure 1 and force against distance (with reports/figures/forces.csv), from settings alone."""

from pathlib import Path

from pfml.stage import run_stage


def main(params):
    from pfml.figures.force import force_curves, force_figure, write_forces
    from pfml.figures.overview import overview, overview_figure

    folder, curves = Path("reports/figures"), force_curves(params)
    write_forces(curves, folder / "forces.csv")
    force_figure(curves, folder / "forces.png")
    overview_figure(overview(params.loss.alpha, params.loss.delta), folder / "overview.png")


run_stage(main)
