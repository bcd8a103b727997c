"""wasserstein <dataset>: measure the distances of proxies to data, write reports/wasserstein/<study>/<dataset>.csv."""

import sys
from pathlib import Path

from pfml.stage import run_stage


def main():
    from pfml.evaluation.proxies import measure_wasserstein, write_wasserstein
    from pfml.settings.plan import read_plan, read_run
    from pfml.settings.study import Wasserstein

    name, study = sys.argv[1], read_plan("study")["study"]
    plan = read_plan(f"wasserstein/{name}")
    rows = measure_wasserstein([read_run(run) for run in plan["runs"]], Wasserstein(**plan["settings"]))
    write_wasserstein(rows, Path("reports/wasserstein", study, f"{name}.csv"))


run_stage(main, data=True)
