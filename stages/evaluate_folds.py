"""evaluate_folds <dataset>-<method>-<seed>: measure one cross validation, write reports/runs/<study>/mlrc/."""

import sys

from pfml.stage import run_stage


def main():
    from pfml.evaluation.folds import evaluate_folds
    from pfml.settings.plan import read_plan, read_run

    name = sys.argv[1]
    result = evaluate_folds([read_run(run) for run in read_plan(f"folds/{name}")["runs"]])
    shares = ", ".join(f"{what} {100 * result[f'{what}_map@r']:.1f} %" for what in ("separated", "concatenated"))
    print(f"{name:<34} MAP@R {shares}")


run_stage(main, data=True)
