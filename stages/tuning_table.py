"""tuning_table: write reports/tuning.md from the trials on disk."""

from pathlib import Path

from pfml.settings.runs import grid_runs
from pfml.stage import run_stage


def main(params):
    from pfml.report.studies import every_params
    from pfml.report.tuning import read_searches, render_tuning, settings_in_use

    used = settings_in_use([run for study in every_params(params) for run in grid_runs(study)])
    Path("reports/tuning.md").write_text(render_tuning(read_searches("reports/tuning"), used))


run_stage(main)
