"""register: every result of the study has a finished MLflow run, also one that DVC restored from its cache."""

from pfml.stage import run_stage


def main(params):
    if not params.tracking.enabled:
        return
    from pfml.report.results import finished, study_of, with_results
    from pfml.tracking.mlflow import store_may_fail
    from pfml.tracking.register import register

    results = finished(with_results([study_of(params)]))
    with store_may_fail("register"):
        counts = register(results, params.tracking.experiment, params.study)
        print("MLflow:", ", ".join(f"{count} {what}" for what, count in counts.items()))


run_stage(main)
