"""Names of the stages of dvc.yaml that belong to a run."""

from collections.abc import Iterable

from pfml.settings.run import Run


def training_of(run: Run, fields: Iterable[str]) -> str:
    """The stage that trains a run. fields: the methods of grid.field and mlrc.field."""
    if run.axis:
        return f"ablate@{run.point}-{run.seed}"
    kind = "" if run.method in fields else "_baseline"
    if run.fold is not None:
        return f"train_fold{kind}@{run.repeat}-{run.fold}"
    return f"train{kind}@{run.name}"


def evaluation_of(run: Run, fields: Iterable[str]) -> str:
    """The stage that measures a run; a fold is measured with the other folds of its cross validation."""
    if run.axis:
        return f"evaluate_ablation@{run.point}-{run.seed}"
    kind = "" if run.method in fields else "_baseline"
    if run.fold is not None:
        return f"evaluate_folds{kind}@{run.repeat}"
    return f"evaluate{kind}@{run.name}"


def measured_by(training: str) -> str | None:
    """The stage that measures what a stage trains, train@x -> evaluate@x; None for a fold, which is not measured alone,
    and for a stage that trains nothing.
    """
    if training.startswith("ablate@"):
        return f"evaluate_ablation@{training.removeprefix('ablate@')}"
    if training.startswith("train") and not training.startswith("train_fold"):
        return f"evaluate{training.removeprefix('train')}"
    return None
