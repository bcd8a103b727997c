"""ablate <run>: one run of an ablation axis into models/ablation/<axis>/."""

import sys

from pfml.settings.runs import ablation_runs, find_run
from pfml.stage import run_stage


def main(params):
    from pfml.training.run import execute

    execute(find_run(ablation_runs(params), sys.argv[1]), params)


run_stage(main, data=True)
