"""report: every document of the report, Markdown, CSV, LaTeX, JSON and the page, from the results on disk."""

from pfml.stage import run_stage


def main(params):
    from pfml.report.document import write_report

    write_report(params)


run_stage(main)
