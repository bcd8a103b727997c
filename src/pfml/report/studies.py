"""Every study that there is: the one that params.yaml describes, the committed default, and each of presets/.

A preset is laid over the *committed* params.yaml. So what an experiment changes in the file (`dvc exp run -S
loss.alpha=4`, `make repro PRESET=...`) moves the rows of the study being run and of no other. Outside Git, or where the
committed file no longer fits the code, the file as it stands takes its place, and a line on stdout says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import yaml

from pfml.report.cross_validations import Result, read_results
from pfml.report.ledger import Ledger, Record, read_ledger
from pfml.report.study import Study, study_of
from pfml.report.timings import Timed, read_timings
from pfml.settings import ConfigError
from pfml.settings.load import params_from
from pfml.settings.overlay import merge
from pfml.settings.presets import FOLDER, PARAMS, committed_params, preset_names, read_preset
from pfml.settings.run import Run
from pfml.settings.schema import Params
from pfml.settings.validation import Loader


@dataclass(frozen=True)
class Studies:
    """`every`: the study being run first, then the committed default, then the presets by name; no name twice.
    `timings`: of reports/complexity, `cross_validations`: of reports/runs, wanted or not.
    """

    every: tuple[Study, ...]
    ledger: Ledger
    timings: Sequence[Timed] = ()
    cross_validations: Sequence[Result] = ()

    @property
    def running(self) -> Study:
        return self.every[0]

    @property
    def runs(self) -> list[Run]:
        return [run for study in self.every for run in study.runs]

    def runs_of(self, dataset: str, method: str) -> list[Run]:
        """The grid cells of one method on one dataset, in the order of the studies."""
        return self._by_method.get((dataset, method), [])

    @cached_property
    def _by_method(self) -> dict[tuple, list[Run]]:
        found: dict = {}
        for study in self.every:
            for run in study.grid:
                found.setdefault((run.dataset, run.method), []).append(run)
        return found

    def find(self, name: str) -> Study | None:
        return next((study for study in self.every if study.name == name), None)

    def why_outside(self, record: Record) -> str:
        """Why no cell has the digest of a result that is on disk."""
        study = self.find(record.study)
        if study is None:
            return "there is no study of this name"
        if record.run in {run.name for run in study.runs}:
            return "outdated: its configuration has changed"
        return "the study no longer asks for it"


def read_studies(params: Params, reports: str | Path = "reports") -> Studies:
    """All studies with the results that they share; run from the project's root.

    Raises:
        ConfigError: a preset without a study's name, or two of one.
        ValueError: a result file that cannot be used (see ledger.read_ledger, timings.read_timings).
    """
    found = [study_of(p) for p in every_params(params)]
    ledger = read_ledger(reports, [run for study in found for run in study.runs])
    timings = read_timings(Path(reports, "complexity"))
    folds = read_results(Path(reports, "runs"))
    return Studies(tuple(replace(study, ledger=ledger) for study in found), ledger, timings, folds)


def every_params(params: Params) -> Iterator[Params]:
    """`params` as it stands, the committed default, the presets over that; the first of a study's name wins. A preset
    that does not fit the committed params.yaml, which may be your own, is left out, and a line on stdout says so.
    """
    settings, default = _defaults()
    seen = {params.study, default.study}
    yield params
    if default.study != params.study:
        yield default
    from_presets: dict[str, str] = {}
    for name in preset_names() if FOLDER.is_dir() else ():
        path = FOLDER / f"{name}.yaml"
        try:
            changes = read_preset(name)
            preset = params_from(merge(settings, changes), path)
        except ConfigError as error:
            print(f"left out of the report: {error}")
            continue
        if "study" not in changes:
            raise ConfigError(f"{path}: study: missing; expected a name of its own, under which its results are kept")
        if preset.study in from_presets:
            other = FOLDER / f"{from_presets[preset.study]}.yaml"
            raise ConfigError(f"{path}: study: expected a name of its own, found {preset.study!r}, which {other} has")
        from_presets[preset.study] = name
        if preset.study not in seen:
            yield preset


def _defaults() -> tuple[dict, Params]:
    """The committed params.yaml, as data and checked; the one on disk where that cannot be used."""
    try:
        settings = yaml.load(committed_params(), Loader)
        return settings, params_from(settings, f"{PARAMS} (committed)")
    except (ConfigError, yaml.YAMLError) as error:
        print(f"presets are laid over {PARAMS} as it stands: {error}")
    settings = yaml.load(PARAMS.read_text(), Loader)
    return settings, params_from(settings, PARAMS)
