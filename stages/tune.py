"""tune <method>: search a method's settings on validation classes, write reports/tuning/<dataset>/<method>.csv."""

import sys
from pathlib import Path

from pfml.stage import run_stage, use_all_instructions


def main():
    from pfml.settings.plan import read_plan
    from pfml.tracking.searches import log_search
    from pfml.tuning import Search, best, tune_method

    search, study = Search.from_json(read_plan(f"tune/{sys.argv[1]}")), read_plan("study")
    if not search.runs[0].train["portable"]:
        use_all_instructions()
    out = Path("reports/tuning", search.dataset, f"{search.method}.csv")
    trials = tune_method(search, out)
    log_search(search, study, trials, best(trials), out)


run_stage(main, data=True)
