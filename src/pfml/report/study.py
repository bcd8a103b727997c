"""What the report shows of one study: its grid, its ablation axes, its results on disk."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pfml.report.ledger import Ledger, Sweep, read_ledger, summarise
from pfml.settings.run import Run
from pfml.settings.runs import ablation_base, ablation_runs, fold_runs, grid_runs, timing_runs
from pfml.settings.schema import Params
from pfml.settings.study import ABLATION_AXES


@dataclass(frozen=True)
class Study:
    """name, experiment: of the study and of its MLflow experiment. timed: the trainings of Table 9. folds: those of
    Tables 6 and 7.
    """

    grid: list[Run]
    sweeps: list[Sweep]
    ledger: Ledger
    name: str = ""
    experiment: str = ""
    timed: Sequence[Run] = ()
    folds: Sequence[Run] = ()

    @property
    def runs(self) -> list[Run]:
        """Every run that the study asks for, grid first."""
        return self.grid + [run for sweep in self.sweeps for run in sweep.runs]


def study_of(params: Params) -> Study:
    """The study that `params` describes, without results."""
    grid, ablations = grid_runs(params), ablation_runs(params)
    sweeps = []
    for axis in ABLATION_AXES:
        points = [run for run in ablations if run.axis == axis]
        if points:
            sweeps.append(Sweep(axis, *ablation_base(params, axis), points))
    experiment = f"{params.tracking.experiment}-{params.study}"
    return Study(grid, sweeps, Ledger((), ()), params.study, experiment, timing_runs(params), fold_runs(params))


def read_study(params: Params, reports: str | Path = "reports") -> Study:
    """Raises ValueError for a result file that cannot be used (see ledger.read_ledger)."""
    study = study_of(params)
    return replace(study, ledger=read_ledger(reports, study.runs))


def write_summary(study: Study, path: str | Path) -> None:
    """R@1 in percent (mean over seeds) per dataset, method and noise: the columns of `dvc exp show`."""
    summary: dict = {}
    for run in study.grid:
        same = [c for c in study.grid if (c.dataset, c.method, c.noise) == (run.dataset, run.method, run.noise)]
        mean = summarise(study.ledger, same, "recall@1").mean
        row = summary.setdefault(run.dataset, {}).setdefault(run.method, {})
        row["clean" if not run.noise else f"noise {run.noise:g}"] = None if mean is None else round(100 * mean, 2)
    Path(path).write_text(json.dumps(summary, indent=1) + "\n")
