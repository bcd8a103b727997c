"""report: every document of the report but the page, Markdown, CSV, LaTeX and JSON, from the results on disk."""

from pfml.stage import run_stage


def main():
    from pfml.report.document import write_report
    from pfml.settings.load import load_params

    write_report(load_params())


run_stage(main, data=True)
