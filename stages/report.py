"""report: every document of the report but the page, Markdown, CSV, LaTeX and JSON, from the results on disk."""

from pfml.stage import run_stage


def main():
    from pfml.report.document import write_report
    from pfml.settings.load import load_params
    from pfml.settings.runs import planned_runs
    from pfml.tracking.provenance import restore

    params = load_params()
    restore(params.study, planned_runs(params))
    write_report(params)


run_stage(main, data=True)
