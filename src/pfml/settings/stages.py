"""Names of the stages of dvc.yaml that belong to a run."""

from collections.abc import Iterable

from pfml.settings.run import Run


def stages_of(run: Run, fields: Iterable[str]) -> tuple[str, str]:
    """The stage that trains a run and the one that measures it; a fold is measured with the others of its cross
    validation.

    Args:
        fields: the methods of grid.field and mlrc.field.
    """
    if run.axis:
        point = f"{run.point}-{run.seed}"
        return f"ablate@{point}", f"evaluate_ablation@{point}"
    kind = "" if run.method in fields else "_baseline"
    if run.fold is not None:
        return f"train_fold{kind}@{run.repeat}-{run.fold}", f"evaluate_folds{kind}@{run.repeat}"
    return f"train{kind}@{run.name}", f"evaluate{kind}@{run.name}"


def measured_by(training: str) -> str | None:
    """The stage that measures what a stage trains, train@x -> evaluate@x; None for a fold, which is not measured alone,
    and for a stage that trains nothing.
    """
    if training.startswith("ablate@"):
        return f"evaluate_ablation@{training.removeprefix('ablate@')}"
    if training.startswith("train") and not training.startswith("train_fold"):
        return f"evaluate{training.removeprefix('train')}"
    return None
