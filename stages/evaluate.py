"""evaluate <run>: measure a trained run, write reports/runs/<study>/."""

import sys

from pfml.stage import run_stage


def main():
    from pfml.evaluation.runs import evaluate_run
    from pfml.settings.plan import read_plan, read_run
    from pfml.settings.study import Wasserstein
    from pfml.training.checkpoint import drop_checkpoint

    run, plan = read_run(sys.argv[1]), read_plan("evaluate")
    result = evaluate_run(run, plan["evaluate"], Wasserstein(**plan["wasserstein"]))
    drop_checkpoint(run)
    print(f"{run.name:<34} R@1 {100 * result['recall@1']:.1f} %, MAP@R {100 * result['map@r']:.1f} %")


run_stage(main, data=True)
