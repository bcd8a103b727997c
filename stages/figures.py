"""figures: training curves and ablation panels into reports/figures/ (PNG and PDF), from results alone."""

from pathlib import Path

from pfml.stage import run_stage


def main():
    from pfml.figures.ablation import ablation_panels
    from pfml.figures.training import training_curves
    from pfml.report.ledger import histories, summarise
    from pfml.report.published import paper
    from pfml.report.study import read_study
    from pfml.settings.load import load_params

    params, folder = load_params(), Path("reports/figures")
    study = read_study(params)
    runs = {name: histories(study.ledger, [c for c in study.grid if c.dataset == name]) for name in params.grid.dataset}
    training_curves(runs, folder / "training.png")
    ablation_panels(
        {s.axis: [(v, summarise(study.ledger, runs, "recall@1")) for v, runs in s.points()] for s in study.sweeps},
        {s.axis: paper.figure3(s.axis) for s in study.sweeps},
        folder / "ablations.png",
        {s.axis: s.default for s in study.sweeps},
    )


run_stage(main)
