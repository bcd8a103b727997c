"""tuning_table: reports/tuning.md from the trials on disk."""

from pathlib import Path

from pfml.cells import grid_cells
from pfml.config import run_stage


def main(params):
    from pfml.report.studies import every_params
    from pfml.report.tuning_table import read_searches, render_tuning, settings_in_use

    used = settings_in_use([cell for study in every_params(params) for cell in grid_cells(study)])
    Path("reports/tuning.md").write_text(render_tuning(read_searches("reports/tuning"), used))


run_stage(main)
