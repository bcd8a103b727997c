"""figures: draw training curves, ablation panels and the search from files of results, into reports/figures/."""

from pathlib import Path

from pfml.stage import run_stage


def main():
    from pfml.evaluation.trials import read_trials
    from pfml.figures.ablation import ablation_panels
    from pfml.figures.search import search_figure
    from pfml.figures.training import training_curves
    from pfml.report.groups import points_of, sweeps_of
    from pfml.report.published import paper
    from pfml.report.results import histories, study_of, with_results
    from pfml.settings.load import load_params

    params, folder = load_params(), Path("reports/figures")
    studies = with_results([study_of(params)])
    grid, axes = studies.grid, studies.running.defaults
    runs = {name: histories(grid[grid.dataset == name]) for name in params.grid.dataset}
    training_curves(runs, folder / "training.png")
    ablation_panels(
        {axis: list(points_of(sweeps_of(studies, axis)[0], "recall@1").items()) for axis in axes},
        {axis: paper.figure3(axis) for axis in axes},
        folder / "ablations.png",
        {axis: default for axis, (default, _) in axes.items()},
    )
    found = {name: Path("reports/tuning", name, "pfml_tuned.csv") for name in params.grid.dataset}
    searches = {name: read_trials(path)[0] for name, path in found.items() if path.exists()}
    search_figure(searches, folder / "search.png")


run_stage(main, data=True)
