"""complexity: seconds of a training epoch against the number of proxies, reports/complexity/<study>.csv."""

from pathlib import Path

from pfml.cells import complexity_cells
from pfml.config import run_stage


def main(params):
    from pfml.complexity import time_cells, write_timings

    steps, rounds = params.complexity.steps, params.complexity.rounds
    timings = time_cells(complexity_cells(params), steps, rounds)
    write_timings(timings, steps, Path("reports/complexity", f"{params.study}.csv"))


run_stage(main, data=True)
