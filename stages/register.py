"""register: every result of the study has a finished MLflow run, also one that DVC restored from its cache."""

from pfml.config import run_stage


def main(params):
    if not params.tracking.enabled:
        return
    from pfml.cells import mlrc_cells
    from pfml.register import register
    from pfml.report.cross_validations import fold_results, read_results
    from pfml.report.ledger import read_history
    from pfml.report.study import read_study
    from pfml.tracking import store_may_fail

    study = read_study(params)
    found = [(cell, study.ledger.find(cell)) for cell in study.cells]
    results = [(cell, r.numbers, read_history(r.path.with_suffix(".csv"))) for cell, r in found if r]
    results += fold_results(read_results(), mlrc_cells(params))
    with store_may_fail("register"):
        counts = register(results, params.tracking.experiment, params.study)
        print("MLflow:", ", ".join(f"{count} {what}" for what, count in counts.items()))


run_stage(main)
