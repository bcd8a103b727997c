"""What the study of a preset brings back to the project: its own result files and reports/<study>.md, nothing else."""

from pathlib import Path

import yaml

from pfml.launch.copies import copy_file, heading
from pfml.settings.files import write_whole
from pfml.settings.presets import FOLDER, committed_params
from pfml.settings.run import COPIES
from pfml.settings.schema import Params
from pfml.settings.validation import Loader


def bring_back(params: Params, preset: str, table: str, project: Path) -> str:
    """Copy the results from the working directory, the preset's copy, into the project; a line that says so.

    A preset of the default study (glyphs-tune) brings its searches alone: the study's results are the project's own.
    """
    names = bring_results(params, project)
    if not _is_own(params):
        return f"{len(names)} searches of study {params.study} are in reports/tuning/"
    document = project / "reports" / f"{params.study}.md"
    text = (
        f"{heading(params.study)}\nMeasures on unseen classes, mean ± standard deviation over seeds. Written by "
        f"`make repro PRESET={preset}` from\n`reports/runs/{params.study}/`; the settings are in "
        f"`{FOLDER}/{preset}.yaml`.\n\n{table}\n"
    )
    if not document.exists() or document.read_text(encoding="utf-8") != text:
        write_whole(document, text)
    return f"this table: reports/{params.study}.md; results of every run: reports/runs/{params.study}/"


def bring_results(params: Params, project: Path) -> list[str]:
    """Copy the result files of finished runs and searches alone; returns their names."""
    names = results_of(params, _is_own(params))
    for name in names:
        copy_file(Path(name), project / name)
    return names


def _is_own(params: Params) -> bool:
    """Whether the study is another than the project's default one."""
    return params.study != yaml.load(committed_params(), Loader)["study"]


def results_of(params: Params, own: bool) -> list[str]:
    """The study's result files in the working directory: of its searches, and where they are its `own` all others."""
    places = [f"tuning/{params.grid.dataset[0]}/{method}.csv" for method in params.tune.method]
    if own:
        places += [f"runs/{params.study}/**/*"]
        places += [f"{folder}/{params.study}.csv" for folder in ("complexity", "provenance")]
    reports = Path("reports")
    return sorted(str(path) for place in places for path in reports.glob(place) if path.is_file())


def page_of(preset: str) -> str:
    return f"{COPIES}/{preset}/reports/index.html"
