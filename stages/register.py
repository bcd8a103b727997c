"""register: every result of the study has a finished MLflow run, also one that DVC restored from its cache."""

from pfml.config import ablation_cells, grid_cells, run_stage


def main(params):
    if not params.tracking.enabled:
        return
    from pfml.evaluation import read_results
    from pfml.tracking import register

    results = read_results(grid_cells(params) + ablation_cells(params))
    counts = register(results, params.tracking.experiment, params.study)
    print("MLflow:", ", ".join(f"{count} {what}" for what, count in counts.items()))


run_stage(main)
