"""Real studies for the report's tests: a toy grid on glyphs, presets of the paper's, and what is on disk of them."""

import copy
from pathlib import Path

import yaml
from report_runs import write

from pfml.report.document import PREAMBLE, report_sections
from pfml.report.files import document
from pfml.report.results import Studies, Study, study_of, with_results
from pfml.report.table import Entry, Section, Table
from pfml.settings.load import params_from
from pfml.settings.overlay import merge
from pfml.settings.study import ABLATION_AXES
from pfml.settings.validation import Loader
from tests.conftest import ROOT
from tests.conftest import merge as changed

DEFAULTS = yaml.load((ROOT / "params.yaml").read_text(), Loader)
TOY = {
    "study": "toy",
    "grid": {
        "dataset": ["glyphs"], "field": ["pfml", "cpml"], "baseline": ["proxy_anchor", "soft_triple"],
        "noise": [0.0, 0.2], "seed": [0, 1],
    },
    "ablation": {"noise": 0.0, "proxies_per_class": [], "alpha": [0, 1], "delta": [], "delta_gap": []},
}  # fmt: skip


def toy(**changes) -> Study:
    """The toy study with further changes, given as nested dicts; `ablation` by axis, {"alpha": [1, 4]}."""
    settings = changed(merge(copy.deepcopy(DEFAULTS), TOY), changes)
    ablation = settings["ablation"]
    axes = {axis: ablation.pop(axis) for axis in ABLATION_AXES}
    ablation["points"] = [f"{axis}-{value}" for axis, values in axes.items() for value in values]
    return study_of(params_from(settings, "toy"))


def preset(name: str, **changes) -> Study:
    """One of presets/, its seeds cut to 0 and 1."""
    settings = yaml.load((ROOT / f"presets/{name}.yaml").read_text(), Loader)
    settings["grid"]["seed"] = [0, 1]
    return study_of(params_from(changed(merge(copy.deepcopy(DEFAULTS), settings), changes), name))


def together(reports: Path, *studies: Study) -> Studies:
    """The studies with what is on disk of them, the first one being run."""
    return with_results(studies, reports)


def pick(study: Study, method: str, noise: float = 0.0, seed: int | None = None, **point) -> list:
    """Runs of a study; axis="alpha", value=1 for ablation points, else of the grid."""
    runs = study.runs if point else study.grid
    return [
        c for c in runs
        if (c.method, c.noise) == (method, noise) and seed in (None, c.seed)
        and all(getattr(c, key) == value for key, value in point.items())
    ]  # fmt: skip


def write_all(reports: Path, study: Study, recall: dict[str, float], **numbers) -> None:
    """A result for every run of the methods in `recall`: R@1, 0.02 more a seed, less half the noise."""
    for run in study.runs:
        if run.method in recall:
            value = recall[run.method] + 0.02 * run.seed - 0.5 * run.noise
            write(reports, run, value, folder="ablation" if run.axis else "", **numbers)


def sections_of(*parts) -> dict[str, Section]:
    return {section.heading: section for section in report_sections(together(*parts))}


def tables_of(*parts) -> dict[str, Table]:
    """Every table of the report by its name."""
    return {table.name: table for section in report_sections(together(*parts)) for table in section.tables}


def text_of(*parts) -> str:
    return document(PREAMBLE, report_sections(together(*parts)))


def runs_of(table: Table, label: int = 0) -> dict[str, dict[str, Entry]]:
    """Rows by the text of the column `label`, entries by heading."""
    return {row[label].text: dict(zip(table.header, row)) for row in table.rows}
