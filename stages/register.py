"""register: give every result of the study a finished MLflow run, also results that DVC restored from its cache."""

from pfml.stage import run_stage


def main(params):
    if not params.tracking.enabled:
        return
    from pfml.report.cross_validations import fold_results, read_results
    from pfml.report.ledger import read_history
    from pfml.report.study import read_study
    from pfml.settings.runs import fold_runs
    from pfml.tracking.mlflow import tolerate_mlflow_errors
    from pfml.tracking.register import register

    study = read_study(params)
    records = [(run, study.ledger.find(run)) for run in study.runs]
    results = [(run, r.numbers, read_history(r.path.with_suffix(".csv"))) for run, r in records if r]
    results += fold_results(read_results(), fold_runs(params))
    with tolerate_mlflow_errors("register"):
        counts = register(results, params.tracking.experiment, params.study)
        print("MLflow:", ", ".join(f"{count} {what}" for what, count in counts.items()))


run_stage(main)
