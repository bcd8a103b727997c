"""map <name>: train a field method over two settings of its loss: reports/maps/<study>-<name>.csv and a figure."""

import sys
from pathlib import Path

from pfml.stage import run_stage, use_all_instructions


def main():
    from pfml.settings.plan import read_plan
    from pfml.settings.run import Run

    plan, study = read_plan(f"map/{sys.argv[1]}"), read_plan("study")
    runs = [(one["point"], Run.from_json(one["run"], study["study"])) for one in plan["points"]]
    if not runs[0][1].train["portable"]:
        use_all_instructions()
    from pfml.evaluation.maps import make_map
    from pfml.figures.scores import score_map
    from pfml.tracking.searches import log_map

    out, first = Path("reports/maps", f"{study['study']}-{sys.argv[1]}.csv"), runs[0][1]
    rows = make_map(runs, out)
    score_map(first.method, first.dataset, first.noise, rows, Path(f"reports/figures/map-{sys.argv[1]}.png"))
    log_map(sys.argv[1], first, study, rows, out)


run_stage(main, data=True)
