"""evaluate <run>: retrieval measures of a trained run into reports/runs/<study>/."""

import sys

from pfml.settings.runs import ablation_runs, find_run, grid_runs
from pfml.stage import run_stage


def main(params):
    from pfml.evaluation.runs import evaluate_run

    run = find_run(grid_runs(params) + ablation_runs(params), sys.argv[1])
    result = evaluate_run(run, params)
    print(f"{run.name:<34} R@1 {100 * result['recall@1']:.1f} %, MAP@R {100 * result['map@r']:.1f} %")


run_stage(main, data=True)
