"""split <dataset>: write halves, validation classes and folds to data/split/<dataset>.csv, and a report to .json."""

import sys
from pathlib import Path

from pfml.stage import run_stage


def main():
    from pfml.labels.split import write_split
    from pfml.settings.plan import read_plan

    name = sys.argv[1]
    print(write_split(name, Path("data/raw", name), Path("data/split"), **read_plan(f"split/{name}")))


run_stage(main, data=True)
