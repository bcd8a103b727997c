"""page: write reports/index.html, the whole report in one file."""

from pathlib import Path

from pfml.stage import run_stage


def main(params):
    from pfml.report.captions import captioned
    from pfml.report.page import render_page
    from pfml.report.stamps import runs_digest
    from pfml.report.studies import read_studies
    from pfml.report.tables import PREAMBLE, report_sections
    from pfml.tracking.environment import environment

    studies = read_studies(params)
    runs = {name: runs_digest(c for c in studies.running.grid if c.dataset == name) for name in params.grid.dataset}
    figures = captioned(Path("reports/figures"), Path("docs/figures.md"), runs)
    results = [{"dataset": record.dataset, **record.numbers} for record in studies.ledger.current]
    title = "Potential Field Based Deep Metric Learning, reproduced"
    page = render_page(title, PREAMBLE, report_sections(studies), figures, environment(params, results))
    Path("reports/index.html").write_text(page, encoding="utf-8")


run_stage(main)
