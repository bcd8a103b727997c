"""loss_figures: draw Figure 1 and force against distance (with reports/figures/forces.csv) from the settings."""

from pathlib import Path

from pfml.stage import run_stage


def main():
    from pfml.figures.force import force_curves, force_figure, not_drawn, write_forces
    from pfml.figures.overview import overview, overview_figure
    from pfml.settings.plan import read_plan

    folder, asked = Path("reports/figures"), read_plan("loss_figures")
    curves = force_curves(asked)
    write_forces(curves, folder / "forces.csv")
    force_figure(curves, folder / "forces.png", not_drawn(asked))
    overview_figure(overview(asked["loss"]["alpha"], asked["loss"]["delta"]), folder / "overview.png")


run_stage(main)
