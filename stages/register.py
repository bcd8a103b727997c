"""register: give every result of the study a finished MLflow run, also results that DVC restored from its cache."""

from pfml.stage import run_stage


def main():
    from pfml.settings.load import load_params

    params = load_params()
    if not params.tracking.enabled:
        return
    from pfml.report.results import finished, study_of, with_results
    from pfml.tracking.mlflow import tolerate_mlflow_errors
    from pfml.tracking.provenance import read_provenance
    from pfml.tracking.register import register

    def neighbours(run):
        from pfml.use.neighbours import neighbours_picture  # imports torch, which a store that is up to date spares

        return neighbours_picture(run)

    results = finished(with_results([study_of(params)]), read_provenance())
    with tolerate_mlflow_errors("register"):
        fields = (*params.grid.field, *params.mlrc.field)
        track = params.tracking
        counts = register(results, track.experiment, params.study, fields, track.models, neighbours)
        print("MLflow:", ", ".join(f"{count} {what}" for what, count in counts.items()))


run_stage(main, data=True)
