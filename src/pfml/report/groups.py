"""Groups of runs that make one row, table or claim, and their means over seeds.

Rows are those of `Studies.runs` (pfml.report.results).
"""

import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from pfml.report.names import dataset_name
from pfml.report.results import PLACE, ROW, USUAL, Studies, Summary

SHORT = 8  # digits of an MLflow run's id that stand in a table


def summary_of(values: Iterable[float], expected: int | None = None) -> Summary:
    """Of the values that are there; expected: how many there should be, by default as many as there are entries."""
    values = list(values)
    there = [value for value in values if value is not None and value == value]
    mean = statistics.fmean(there) if there else None
    std = statistics.stdev(there) if len(there) > 1 else None
    return Summary(mean, std, len(there), len(values) if expected is None else expected)


def over_seeds(rows: pd.DataFrame, by: str | list[str], key: str) -> dict:
    """A measure over the seeds of each group, groups in the order in which they come; a run without it counts only as
    expected.
    """
    rows = rows if key in rows else rows.assign(**{key: None})
    return {group: summary_of(values) for group, values in rows.groupby(by, sort=False)[key].agg(list).items()}


def summarize(rows: pd.DataFrame, key: str) -> Summary:
    return summary_of(rows.get(key, [None] * len(rows)))


def by_seed(rows: pd.DataFrame, key: str) -> dict[int, float]:
    """A measure of each finished seed."""
    there = rows[rows[key].notna()] if key in rows else rows[:0]
    return dict(zip(there.seed.tolist(), there[key].tolist() if len(there) else ()))


def blocks_of(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of each study on each dataset with each network: those of one table of ours."""
    return [block for _, block in rows.groupby(["study", "dataset", "backbone", "dim"], sort=False)]


def without_repeats(groups: Sequence[pd.DataFrame], keep: str) -> tuple[list[int], dict[str, str]]:
    """Which groups to show: not one whose every run is a run of another group too, told by digest. Of two with the same
    runs the first stays, and the study `keep` always does.

    Returns:
        the places of those that stay, and for each study that does not: the name of one that has its runs.
    """
    digests, studies = [set(group.digest) for group in groups], [group.study.iloc[0] for group in groups]
    left, holders = [], {}
    for i, own in enumerate(digests):
        holding = (j for j, other in enumerate(digests) if own < other or (own == other and j < i))
        holder = next(holding, None)
        if holder is None or studies[i] == keep:
            left.append(i)
        else:
            holders[studies[i]] = studies[holder]
    return left, holders


def pools_of(studies: Studies) -> list[pd.DataFrame]:
    """All studies' runs of each dataset and network with a finished run, as one grid: what claims are judged on.

    Studies share runs: a clean run of `cub200-noise` is one of `cub200-resnet50` too. Runs of one configuration but for
    the seed are seeds of one row (columns ROW), whatever study asks for them. Where two studies run a method with
    different settings, the first that has a finished run is taken, and never the seeds of both. Runs that hold out
    validation classes are in no pool: they are not measured on the test half.
    """
    grid, row = studies.grid, [*PLACE, *ROW]
    grid = grid[~grid.hold_out]
    waiting = ~grid.groupby([*row, "condition"]).measured.transform("any")
    ranked = grid.assign(waiting=waiting).sort_values("waiting", kind="stable")
    first = ranked.groupby(row).condition.transform("first")
    grid = grid[grid.condition.eq(first)].drop_duplicates([*row, "digest"])
    return [pool for _, pool in grid.groupby(PLACE, sort=False) if pool.measured.any()]


def sweeps_of(studies: Studies, axis: str) -> list[pd.DataFrame]:
    """The runs of each study along one ablation axis, those with its default value first."""
    rows = studies.runs[(studies.runs.kind != "grid") & (studies.runs.axis == axis)]
    return [sweep for _, sweep in rows.groupby("study", sort=False)]


def points_of(sweep: pd.DataFrame, key: str) -> dict[float, Summary]:
    """value -> a measure over its seeds, by rising value; a point that equals the default is one run, counted once."""
    return dict(sorted(over_seeds(sweep.drop_duplicates(["value", "digest"]), "value", key).items()))


def place_name(rows: pd.DataFrame) -> str:
    """`CUB-200, resnet50.tv_in1k, 512-d`, and what the network started from where that is not the usual."""
    first = rows.iloc[0]
    return f"{dataset_name(first.dataset)}, {first.backbone}, {first.dim}-d" + _start(first).replace("-", ", ", 1)


def place_stem(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return f"{first.dataset}-{first.backbone}-{first.dim}{_start(first)}".replace(" ", "-")


def _start(first) -> str:
    """The usual: published weights, random ones of conv4."""
    usual = "random" if first.backbone == "conv4" else "pretrained"
    return "" if first.weights == usual else f"-{Path(first.weights).stem} weights"


def recall_levels(rows: pd.DataFrame) -> list[int]:
    """The K of every recall@K that was measured, rising; 1, 2, 4, 8 where there is none."""
    there = rows.columns[rows.notna().any()]
    return sorted(int(key.split("@")[1]) for key in there if re.fullmatch(r"recall@\d+", key)) or [1, 2, 4, 8]


def w2_readings(rows: pd.DataFrame) -> list[str]:
    """The readings of the paper's measure that runs with a W2 have (section `wasserstein` of params.yaml)."""
    return sorted(rows.w2_measure[rows.w2.notna()].unique()) or [USUAL]


def run_ids(rows: pd.DataFrame) -> str:
    """First digits of the ids of the MLflow runs that trained some runs."""
    return " ".join(f"`{name[:SHORT]}`" for name in rows.mlflow_run.dropna() if name)
