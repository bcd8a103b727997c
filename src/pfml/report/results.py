"""What studies ask for, joined with what was measured, as one pandas frame. Every table is a query of it.

A result belongs to a run if both have the same digest of the resolved configuration; the name of its file says nothing.
A result whose digest no study asks for enters no table: it is listed as outside of the present configuration.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import pandas as pd

from pfml.evaluation.result_file import MEASURES
from pfml.report import inputs
from pfml.report.published.paper import NETWORKS
from pfml.settings.presets import every_params
from pfml.settings.run import Run
from pfml.settings.runs import ablation_base, ablation_runs, by_repeat, fold_runs, grid_runs, timing_runs
from pfml.settings.schema import Params
from pfml.settings.study import ABLATION_AXES

ROW = ["method", "noise", "noise_kind"]  # of a table that pools all studies of a dataset and network
PLACE = ["dataset", "backbone", "dim", "weights"]
ANSWER = ["method", "dataset", "network", "dim", "noise"]  # of a run and of a published number that it answers
ASKED = ["study", "kind", *PLACE, "network", *ROW, "seed", "axis", "value", "digest", "run_name", "hold_out",
         "condition", "run"]  # fmt: skip


@dataclass(frozen=True)
class Study:
    """The runs that one study asks for. defaults: ablation axis -> its default value and the runs of the grid that have
    it; timed: of Table 9; folds: of Tables 6 and 7.
    """

    name: str
    grid: Sequence[Run] = ()
    ablations: Sequence[Run] = ()
    defaults: dict[str, tuple[float, list[Run]]] = field(default_factory=dict)
    timed: Sequence[Run] = ()
    folds: Sequence[Run] = ()

    @property
    def runs(self) -> list[Run]:
        return [*self.grid, *self.ablations]


@dataclass(frozen=True)
class Studies:
    """`every`: the study being run first, then the committed default, then the presets by name; no name twice.

    runs: a row for each run that a study asks for (columns ASKED) with its measures, `measured` where there are any;
        kind: "grid", "ablation", or "default" for the grid's runs once more as the default point of an axis.
    folds: a row for each cross validation that a study asks for, its measures beside it.
    files, fold_files: a row for each result on disk, asked for or not. timings: of reports/complexity.
    All but timings have `kinds`: the kinds of processors that trained the run or its folds, "" where not recorded.
    """

    every: tuple[Study, ...]
    runs: pd.DataFrame
    folds: pd.DataFrame
    files: pd.DataFrame
    fold_files: pd.DataFrame
    timings: pd.DataFrame

    @property
    def running(self) -> Study:
        return self.every[0]

    @cached_property
    def grid(self) -> pd.DataFrame:
        return self.runs[self.runs.kind == "grid"]

    @cached_property
    def answers(self) -> dict[tuple, list]:
        """(method, dataset, network, dimension, noise) of published numbers -> the configurations that answer them."""
        return configurations(self.grid, ANSWER)

    def find(self, name: str) -> Study | None:
        return next((study for study in self.every if study.name == name), None)


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (None below two values) over the n finished of `expected` seeds, and the kinds
    of processors that trained them.
    """

    mean: float | None
    std: float | None
    n: int
    expected: int
    kinds: frozenset[str] = frozenset()


def study_of(params: Params) -> Study:
    """The study that `params` describes."""
    ablations = ablation_runs(params)
    axes = [axis for axis in ABLATION_AXES if any(run.axis == axis for run in ablations)]
    defaults = {axis: ablation_base(params, axis) for axis in axes}
    grid, timed, folds = grid_runs(params), timing_runs(params), fold_runs(params)
    return Study(params.study, grid, ablations, defaults, timed, folds)


def read_studies(params: Params, reports: str | Path = "reports", tell: Callable[[str], None] = print) -> Studies:
    """All studies with their results; run from the project's root.

    Args:
        tell: is given a line about each preset that is left out, and where Git has no params.yaml.

    Raises:
        ConfigError: a preset without a study's name, or two of one.
        ValueError: a file that cannot be used; names it and its key or column.
    """
    return with_results(map(study_of, every_params(params, tell)), reports)


def with_results(studies: Iterable[Study], reports: str | Path = "reports") -> Studies:
    """The studies with what is on disk of them.

    Raises:
        ValueError: a file that cannot be used; names it and its key or column.
    """
    studies, reports = tuple(studies), Path(reports)
    files, fold_files = inputs.read_runs(reports / "runs"), inputs.read_folds(reports / "runs")
    origins = inputs.read_origins(reports / "provenance")
    trained = dict(zip(zip(origins.study, origins.run, origins.digest), origins.kind))
    for frame in (files, fold_files):
        frame["kinds"] = [_kinds(row, trained) for row in inputs.records(frame)]
    runs, folds = asked_runs(studies), asked_folds(studies)
    files["current"], fold_files["current"] = files.digest.isin(runs.digest), fold_files.digest.isin(folds.digest)
    runs, folds = (f.assign(measured=f.path.notna()) for f in (joined(runs, files), joined(folds, fold_files)))
    return Studies(studies, runs, folds, files, fold_files, inputs.read_timings(reports / "complexity"))


def _kinds(row: Mapping, trained: Mapping[tuple, str]) -> tuple[str, ...]:
    """Of a result: of its run, or of each fold of a cross validation."""
    name, digests = row["run_name"], row["digest"].split()
    names = [f"{name}-fold-{k}" for k in range(len(digests))] if len(digests) > 1 else [name]
    return tuple(dict.fromkeys(trained.get((row["study"], *own), "") for own in zip(names, digests)))


def joined(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """`left` with the columns of `right` that it lacks, by digest. Of several rows with the digest the one of the same
    study and run is taken, else of the same study, else the first.
    """
    pairs = left.reset_index(names="row").merge(right, on="digest", suffixes=("", "_right"))
    same = pairs.study == pairs.study_right
    pairs["distance"] = 2 - same.astype(int) - (same & (pairs.run_name == pairs.run_name_right)).astype(int)
    nearest = pairs.sort_values("distance", kind="stable").drop_duplicates("row").set_index("row")
    return left.join(nearest[[name for name in right if name not in left]])


def configurations(rows: pd.DataFrame, by: list[str]) -> dict[tuple, list[tuple[tuple[str, ...], pd.DataFrame]]]:
    """Values of the columns `by` -> for each configuration with them the studies that ask for it, and its seeds, of
    which several studies may ask for one.
    """
    found: dict = {}
    for (*key, _), same in rows.groupby([*by, "condition"], sort=False):
        found.setdefault(tuple(key), []).append((tuple(same.study.unique()), same.drop_duplicates("digest")))
    return found


def asked_runs(studies: Iterable[Study]) -> pd.DataFrame:
    rows = []
    for study in studies:
        rows += [_asked(study, run, "grid") for run in study.grid]
        for axis, (value, runs) in study.defaults.items():
            rows += [_asked(study, run, "default") | {"axis": axis, "value": round(float(value), 6)} for run in runs]
        rows += [_asked(study, run, "ablation") for run in study.ablations]
    return pd.DataFrame(rows, columns=ASKED).astype({"noise": float, "value": float, "hold_out": bool})


def _asked(study: Study, run: Run, kind: str) -> dict:
    noise_kind = run.noise_kind.get("kind", "uniform") if run.noise else ""
    comparable = run.model["weights"] == "pretrained" and not run.train["hold_out"] and noise_kind in ("", "uniform")
    return {
        "study": study.name, "kind": kind, "dataset": run.dataset, "backbone": run.backbone, "dim": run.dim,
        "weights": run.model["weights"] or "random", "network": NETWORKS.get(run.backbone) if comparable else None,
        "method": run.method, "noise": float(run.noise), "noise_kind": noise_kind, "seed": run.seed,
        "axis": run.axis, "value": None if run.value is None else round(float(run.value), 6), "digest": run.digest,
        "run_name": run.name, "hold_out": run.train["hold_out"], "condition": condition(run), "run": run,
    }  # fmt: skip


def asked_folds(studies: Iterable[Study]) -> pd.DataFrame:
    """A row for each cross validation, by its first fold; its digest is those of all folds, in order."""
    rows = []
    for study in studies:
        for folds in by_repeat(list(study.folds)).values():
            own = {"digest": " ".join(run.digest for run in folds), "condition": condition(folds[0], ("fold",))}
            rows.append(_asked(study, folds[0], "folds") | own | {"run_name": folds[0].repeat, "runs": folds})
    return pd.DataFrame(rows, columns=[*ASKED, "runs"])


@cache
def condition(run: Run, without: tuple[str, ...] = ()) -> str:
    """All that decides a run's numbers but its seed, and but the settings `without` ("noise", "loss.alpha")."""
    config = {key: value for key, value in run.config.items() if key not in ("seed", *without)}
    for name in without:
        section, _, key = name.partition(".")
        if key:
            config[section] = {k: v for k, v in config[section].items() if k != key}
    return json.dumps(config, sort_keys=True, default=str)


def finished(studies: Studies, provenance: pd.DataFrame) -> list[tuple[Run, dict, list[dict]]]:
    """(run, its measures and origin, its history) of every finished run and fold that the studies ask for: what
    pfml.tracking.register keeps in MLflow. Each fold has the measures of the joined networks too.

    Args:
        provenance: of pfml.tracking.provenance.read_provenance; the origin of a run is the row with its digest.
    """
    origins = {row["digest"]: row for row in inputs.records(provenance)}
    runs = studies.runs[studies.runs.measured & (studies.runs.kind != "default")]
    found = [(row["run"], row, _history(row)) for row in inputs.records(runs)]
    for known in inputs.records(studies.folds[studies.folds.measured]):
        shared = {name: known[name] for name in ("dataset_digest", *(f"concatenated_{name}" for name in MEASURES))}
        history = _history(known)
        for k, run in enumerate(known["runs"]):
            own = {name.removeprefix(f"fold{k}_"): known[name] for name in known if name.startswith(f"fold{k}_")}
            epochs = [{key: row[key] for key in row if key != "fold"} for row in history if row["fold"] == k]
            found.append((run, own | shared, epochs))
    return [(run, result | origins.get(run.digest, {}), history) for run, result, history in found]


def histories(rows: pd.DataFrame) -> list[tuple[str, float, list[dict]]]:
    """(method, noise, epochs) of every finished run that has its history beside its result."""
    ran = [row for row in inputs.records(rows[rows.measured]) if row["path"].with_suffix(".csv").exists()]
    return [(row["method"], row["noise"], _history(row)) for row in ran]


def _history(row: Mapping) -> list[dict]:
    return inputs.read_history(row["path"].with_suffix(".csv"), row.get("epochs"))
