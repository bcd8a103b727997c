"""complexity: seconds of a training epoch against the number of proxies, reports/complexity/<study>.csv."""

from pathlib import Path

from pfml.settings.runs import timing_runs
from pfml.stage import run_stage


def main(params):
    from pfml.evaluation.timing import time_runs, write_timings

    steps, rounds = params.complexity.steps, params.complexity.rounds
    timings = time_runs(timing_runs(params), steps, rounds)
    write_timings(timings, steps, Path("reports/complexity", f"{params.study}.csv"))


run_stage(main, data=True)
