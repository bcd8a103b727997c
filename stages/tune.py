"""tune <method>: search a method's settings on validation classes, write reports/tuning/<dataset>/<method>.csv.

tune <method> <settings> <file>: one trial with these settings (JSON), its scores to a file (pfml.launch.searches).
"""

import json
import sys
from pathlib import Path

from pfml.stage import run_stage, use_all_instructions


def main():
    from pfml.settings.plan import read_plan
    from pfml.tracking.searches import log_search
    from pfml.tuning import Search, best, run_trial, tune_method

    search, study = Search.from_json(read_plan(f"tune/{sys.argv[1]}")), read_plan("study")
    if not search.runs[0].train["portable"]:
        use_all_instructions()
    if sys.argv[2:]:
        scores = [run_trial(run) for run in search.runs_with(json.loads(sys.argv[2]))]
        file = Path(sys.argv[3])
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(scores), encoding="utf-8")
        return
    out = Path("reports/tuning", search.dataset, f"{search.method}.csv")
    trials = tune_method(search, out)
    log_search(search, study, trials, best(trials), out)


run_stage(main, data=True)
