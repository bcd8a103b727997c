"""How the report words and writes things: names of methods, datasets and measures, numbers."""

from pfml.evaluation.result_file import RunResult, keys_of
from pfml.losses import LOSSES

MISSING = "–"
NAMES = {"pfml_tuned": "PFML tuned", "pfml_auto": "PFML auto"} | {method: loss.title for method, loss in LOSSES.items()}
DATASETS = {"cub200": "CUB-200", "cars196": "Cars-196", "sop": "SOP"}  # of the paper
METRICS = {
    **{key: title for key, title in keys_of(RunResult).items() if title},
    "w2": "W2", "w2_relative": "relative W2", "seconds_per_epoch": "s per epoch",
}  # fmt: skip


def method_name(method: str) -> str:
    return NAMES.get(method, method)


def dataset_name(dataset: str) -> str:
    return DATASETS.get(dataset, dataset)


def metric_name(metric: str) -> str:
    """Column heading of a measured number: recall@1 -> R@1."""
    return METRICS.get(metric, metric.replace("recall@", "R@"))


def number(mean: float, std: float | None = None, digits: int = 1) -> str:
    """`12.3` or `12.3 ± 0.4`, without a minus sign before a zero."""
    text = f"{round(mean, digits) + 0.0:.{digits}f}"
    return text if std is None else f"{text} ± {std:.{digits}f}"


def share(fraction: float) -> str:
    """0.2 -> `20 %`."""
    return f"{100 * fraction:g} %"
