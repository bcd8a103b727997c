"""tables: reports/tables.md, reports/results.csv and reports/summary.json from the results on disk."""

from pathlib import Path

from pfml.config import run_stage


def main(params):
    from pfml.report import mlrc
    from pfml.report.ledger import write_results_csv
    from pfml.report.study import read_study, write_summary
    from pfml.report.tables import render_tables

    study, results, folds = read_study(params), mlrc.read_results(), mlrc.asked_for(params)
    ours = {table: mlrc.lines(table, results, folds) for table in mlrc.TABLES}
    Path("reports/tables.md").write_text(render_tables(study.ledger, study.grid, study.sweeps, ours))
    write_results_csv(study.ledger, "reports/results.csv")
    write_summary(study, "reports/summary.json")


run_stage(main)
