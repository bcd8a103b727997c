"""train <run>: train one run of the plan, write models/."""

import sys

from pfml.stage import run_stage


def main():
    from pfml.settings.plan import read_plan, read_run
    from pfml.training.run import execute

    execute(read_run(sys.argv[1]), read_plan("study")["tracking"])


run_stage(main, data=True)
