"""What the report shows of one study: its grid, its ablation axes, its results on disk."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pfml.cell import Cell
from pfml.cells import ABLATION_AXES, ablation_base, ablation_cells, complexity_cells, grid_cells, mlrc_cells
from pfml.report.ledger import Ledger, Sweep, read_ledger, summarise
from pfml.settings.schema import Params


@dataclass(frozen=True)
class Study:
    """name, experiment: of the study and of its MLflow experiment. timed: the trainings of Table 9. folds: those of
    Tables 6 and 7.
    """

    grid: list[Cell]
    sweeps: list[Sweep]
    ledger: Ledger
    name: str = ""
    experiment: str = ""
    timed: Sequence[Cell] = ()
    folds: Sequence[Cell] = ()

    @property
    def cells(self) -> list[Cell]:
        """Every run that the study asks for, grid first."""
        return self.grid + [cell for sweep in self.sweeps for cell in sweep.cells]


def study_of(params: Params) -> Study:
    """The study that `params` describes, without results."""
    grid, ablations = grid_cells(params), ablation_cells(params)
    sweeps = []
    for axis in ABLATION_AXES:
        points = [cell for cell in ablations if cell.axis == axis]
        if points:
            sweeps.append(Sweep(axis, *ablation_base(params, axis), points))
    experiment = f"{params.tracking.experiment}-{params.study}"
    return Study(grid, sweeps, Ledger((), ()), params.study, experiment, complexity_cells(params), mlrc_cells(params))


def read_study(params: Params, reports: str | Path = "reports") -> Study:
    """Raises ValueError for a result file that cannot be used (see ledger.read_ledger)."""
    study = study_of(params)
    return replace(study, ledger=read_ledger(reports, study.cells))


def write_summary(study: Study, path: str | Path) -> None:
    """R@1 in percent (mean over seeds) per dataset, method and noise: the columns of `dvc exp show`."""
    summary: dict = {}
    for cell in study.grid:
        same = [c for c in study.grid if (c.dataset, c.method, c.noise) == (cell.dataset, cell.method, cell.noise)]
        mean = summarise(study.ledger, same, "recall@1").mean
        row = summary.setdefault(cell.dataset, {}).setdefault(cell.method, {})
        row["clean" if not cell.noise else f"noise {cell.noise:g}"] = None if mean is None else round(100 * mean, 2)
    Path(path).write_text(json.dumps(summary, indent=1) + "\n")
