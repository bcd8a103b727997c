"""Groups of runs that make one row, table or claim, and their means over seeds.

Rows are those of `Studies.runs` (pfml.report.results).
"""

import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from pfml.report.inputs import USUAL
from pfml.report.markup import literal
from pfml.report.names import dataset_name
from pfml.report.results import PLACE, ROW, Studies, Summary
from pfml.settings import FROM_SCRATCH


def summary_of(values: Iterable[float], kinds: Iterable = (), expected: int | None = None) -> Summary:
    """Of the values that are there, with the kinds of processors of their runs; expected: how many there should be, by
    default as many as there are entries.
    """
    values = list(values)
    there = {i: value for i, value in enumerate(values) if value is not None and value == value}
    mean = statistics.fmean(there.values()) if there else None
    std = statistics.stdev(there.values()) if len(there) > 1 else None
    found = frozenset(kind for i, own in enumerate(kinds) if i in there for kind in own)
    return Summary(mean, std, len(there), len(values) if expected is None else expected, found)


def kinds_of(rows: pd.DataFrame) -> frozenset[str]:
    """The kinds of processors that trained the finished ones of some runs."""
    return frozenset(kind for own in rows.kinds[rows.measured] for kind in own)


def over_seeds(rows: pd.DataFrame, by: str | list[str], key: str) -> dict:
    """A measure over the seeds of each group, groups in the order in which they come; a run without it counts only as
    expected.
    """
    rows = rows if key in rows else rows.assign(**{key: None})
    found = rows.groupby(by, sort=False)[[key, "kinds"]].agg(list)
    return {group: summary_of(values, kinds) for group, values, kinds in found.itertuples()}


def summarize(rows: pd.DataFrame, key: str) -> Summary:
    return summary_of(rows.get(key, [None] * len(rows)), rows.kinds)


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


def most_runs(groups: Sequence[pd.DataFrame]) -> set[int]:
    """The places of those groups that have the most finished runs of their dataset and network; of equals the first."""
    best: dict[tuple, tuple[int, int]] = {}
    for i, group in enumerate(groups):
        count, key = group.digest[group.measured].nunique(), tuple(group.iloc[0][PLACE])
        if count > best.get(key, (0,))[0]:
            best[key] = count, i
    return {i for _, i in best.values()}


def pools_of(studies: Studies) -> list[pd.DataFrame]:
    """All studies' runs of each dataset and network with a finished run, as one grid: what claims are judged on.

    Studies share runs: a clean run of `cub200-noise` is one of `cub200-resnet50` too. Runs of one configuration but for
    the seed are seeds of one row (columns ROW), whatever study asks for them. Where studies run a method with different
    settings, the one with the most finished seeds is taken, of equals the first, and never the seeds of two. Runs that
    hold out validation classes are in no pool: they are not measured on the test half.
    """
    grid, row = studies.grid, [*PLACE, *ROW]
    grid = grid[~grid.hold_out]
    grid = grid.drop_duplicates([*row, "digest"])
    finished = grid.groupby([*row, "condition"]).measured.transform("sum")
    ranked = grid.assign(finished=finished).sort_values("finished", ascending=False, kind="stable")
    grid = grid[grid.condition.eq(ranked.groupby(row).condition.transform("first"))]
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
    network = literal(f"{first.backbone}, {first.dim}-d" + _start(first).replace("-", ", ", 1))
    return f"{dataset_name(first.dataset)}, {network}"


def place_stem(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    stem = f"{first.dataset}-{first.backbone}-{first.dim}{_start(first)}".replace(" ", "-")
    return re.sub(r"[^\w.+-]", "_", stem)


def _start(first) -> str:
    """The usual: published weights, random ones of our small networks."""
    usual = "random" if first.backbone in FROM_SCRATCH else "pretrained"
    return "" if first.weights == usual else f"-{Path(first.weights).stem} weights"


def recall_levels(rows: pd.DataFrame) -> list[int]:
    """The K of every recall@K that was measured, rising; 1, 2, 4, 8 where there is none."""
    there = rows.columns[rows.notna().any()]
    return sorted(int(key.split("@")[1]) for key in there if re.fullmatch(r"recall@\d+", key)) or [1, 2, 4, 8]


def w2_readings(rows: pd.DataFrame) -> list[str]:
    """The readings of the paper's measure that runs with a W2 have (section `wasserstein` of params.yaml)."""
    return sorted(rows.w2_measure[rows.w2.notna()].unique()) or [USUAL]
