"""tables: write reports/tables.md, tables/, results.csv and summary.json from the results on disk."""

from pathlib import Path

from pfml.stage import run_stage


def main(params):
    from pfml.report.files import write_tables
    from pfml.report.ledger import write_results_csv
    from pfml.report.markdown import document
    from pfml.report.studies import read_studies
    from pfml.report.study import write_summary
    from pfml.report.tables import PREAMBLE, report_sections

    studies = read_studies(params)
    sections = report_sections(studies)
    Path("reports/tables.md").write_text(document(PREAMBLE, sections))
    write_tables((table for section in sections for table in section.tables), "reports/tables")
    write_results_csv(studies.ledger, "reports/results.csv")
    write_summary(studies.running, "reports/summary.json")


run_stage(main)
