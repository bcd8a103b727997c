"""page: reports/index.html, the report with all figures and the machines that trained it, from what is on disk."""

from pfml.stage import run_stage


def main():
    from pfml.report.document import write_page
    from pfml.settings.load import load_params

    write_page(load_params())


run_stage(main, data=True)
