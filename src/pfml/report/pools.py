"""The current cells of one dataset with one network over all studies, as one grid: what claims are judged on.

Studies share cells: a clean run of `cub200-noise` is one of `cub200-resnet50` too. Cells of one configuration but for
the seed are seeds of one row, whatever study asks for them. Where two studies run a method with different settings, the
first one that has a finished run is taken, and never the seeds of both.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pfml.report.ledger import Ledger, Summary, summarise
from pfml.report.names import dataset_name
from pfml.report.studies import Studies

USUAL = "reconstruction"  # the measure of W2 that is the default of params.yaml


@cache
def condition(run, without: tuple[str, ...] = ()) -> str:
    """All that decides a cell's numbers but its seed, and but the settings `without` ("noise", "loss.alpha")."""
    config = {key: value for key, value in run.config.items() if key not in ("seed", *without)}
    for name in without:
        section, _, key = name.partition(".")
        if key:
            config[section] = {k: v for k, v in config[section].items() if k != key}
    return json.dumps(config, sort_keys=True, default=str)


def same_condition(runs: Iterable) -> list[list]:
    """Cells grouped by all but their seed, each digest once, groups in the order in which they come."""
    groups: dict[str, dict] = {}
    for run in runs:
        groups.setdefault(condition(run), {}).setdefault(run.digest, run)
    return [list(group.values()) for group in groups.values()]


@dataclass(frozen=True)
class Pool:
    """rows: (method, noise, kind of noise) -> its cells, one a seed; clean rows are of the kind ""."""

    dataset: str
    backbone: str
    dim: int
    weights: str | None
    rows: Mapping[tuple[str, float, str], Sequence]
    ledger: Ledger

    @property
    def name(self) -> str:
        return f"{dataset_name(self.dataset)}, {self.backbone}, {self.dim}-d" + self._start.replace("-", ", ", 1)

    @property
    def stem(self) -> str:
        return f"{self.dataset}-{self.backbone}-{self.dim}{self._start}".replace(" ", "-")

    @property
    def _start(self) -> str:
        """What the network started from, where that is not the usual: published weights, random ones of conv4."""
        usual = None if self.backbone == "conv4" else "pretrained"
        return "" if self.weights == usual else f"-{Path(self.weights or 'random').stem} weights"

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(method for method, *_ in self.rows))

    def levels(self, kind: str = "uniform") -> list[float]:
        """Rates of one kind of noise, 0 among them, at which a method has a finished run."""
        return sorted({n for (m, n, k), runs in self.rows.items() if k in ("", kind) and self.ledger.find_all(runs)})

    def runs(self, method: str, noise: float = 0.0, kind: str = "uniform") -> Sequence:
        return self.rows.get((method, noise, kind if noise else ""), ())

    def summary(self, method: str, noise: float, key: str, kind: str = "uniform") -> Summary:
        return summarise(self.ledger, self.runs(method, noise, kind), key)

    def by_seed(self, method: str, noise: float, key: str) -> dict[int, float]:
        """A measure of each finished seed."""
        return by_seed(self.ledger, self.runs(method, noise), key)


def by_seed(ledger: Ledger, runs: Sequence, key: str) -> dict[int, float]:
    found = ((run.seed, ledger.find(run)) for run in runs)
    return {seed: r.numbers[key] for seed, r in found if r is not None and r.numbers.get(key) is not None}


def pools_of(studies: Studies) -> list[Pool]:
    """A pool for each dataset and network that has a finished run, in the order of the studies.

    Runs that hold out validation classes are in none: they are not measured on the test half.
    """
    groups: dict = {}
    for study in studies.every:
        for run in study.grid:
            if not run.train["hold_out"]:
                network = (run.dataset, run.backbone, run.dim, run.model["weights"])
                row = (run.method, float(run.noise), run.noise_kind.get("kind", "uniform") if run.noise else "")
                groups.setdefault(network, {}).setdefault(row, []).append(run)
    pools = [
        Pool(*network, {row: _first_run(runs, studies.ledger) for row, runs in rows.items()}, studies.ledger)
        for network, rows in groups.items()
    ]
    return [pool for pool in pools if any(pool.ledger.find_all(runs) for runs in pool.rows.values())]


def _first_run(runs: Sequence, ledger: Ledger) -> list:
    groups = same_condition(runs)
    return next((group for group in groups if ledger.find_all(group)), groups[0])


def measures_of(records) -> list[str]:
    """The readings of the paper's measure that results with a W2 have (section `wasserstein` of params.yaml)."""
    measured = [record.numbers for record in records if record.numbers.get("w2") is not None]
    return sorted({numbers.get("w2_measure") or USUAL for numbers in measured}) or [USUAL]
