"""evaluate_folds <dataset>-<method>-<seed>: measure one cross validation, write reports/runs/<study>/mlrc/."""

import sys

from pfml.stage import run_stage


def main():
    from pfml.evaluation.folds import evaluate_folds
    from pfml.settings.plan import read_plan, read_run
    from pfml.training.checkpoint import drop_checkpoint

    name = sys.argv[1]
    runs = [read_run(run) for run in read_plan(f"folds/{name}")["runs"]]
    result = evaluate_folds(runs)
    for run in runs:
        drop_checkpoint(run)
    shares = ", ".join(f"{what} {100 * result[f'{what}_map@r']:.1f} %" for what in ("separated", "concatenated"))
    print(f"{name:<34} MAP@R {shares}")


run_stage(main, data=True)
