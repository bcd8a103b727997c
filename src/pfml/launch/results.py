"""What the study of a preset brings back to the project: its own result files and reports/<study>.md, nothing else."""

from pathlib import Path

import yaml

from pfml.launch.copies import copy_file, heading
from pfml.settings.files import write_whole
from pfml.settings.presets import FOLDER, committed_params, is_search
from pfml.settings.run import COPIES
from pfml.settings.schema import Params
from pfml.settings.validation import Loader


def bring_back(params: Params, preset: str, table: str, project: Path) -> str:
    """Copy the results from the working directory, the preset's copy, into the project; a line that says so.

    A preset that searches settings for another study (glyphs-tune) brings its searches alone.
    """
    names = bring_results(params, preset, project)
    if not _is_own(params, preset):
        return f"{len(names)} searches of study {params.study} are in reports/tuning/"
    document = project / "reports" / f"{params.study}.md"
    shown = [f"![{title}]({params.study}/{name})\n" for name, title in bring_figures(params, project).items()]
    text = (
        f"{heading(params.study)}\nMeasures on unseen classes, mean ± standard deviation over seeds. Written by "
        f"`make repro PRESET={preset}` from\n`reports/runs/{params.study}/`; the settings are in "
        f"`{FOLDER}/{preset}.yaml`.\n\n{table}\n" + "".join(f"\n{line}" for line in shown)
    )
    if not document.exists() or document.read_text(encoding="utf-8") != text:
        write_whole(document, text)
    return f"this table: reports/{params.study}.md; results of every run: reports/runs/{params.study}/"


def bring_figures(params: Params, project: Path) -> dict[str, str]:
    """Copy the study's figures that show results and no images, those that have something to show, to reports/<study>/;
    returns their names and titles.
    """
    searched = Path("reports/tuning", params.grid.dataset[0], "pfml_tuned.csv").is_file()
    wanted = {"training.png": "R@1 and loss over epochs"} if params.grid.field + params.grid.baseline else {}
    wanted |= {"ablations.png": "R@1 of PFML over single settings"} if params.ablation.points else {}
    wanted |= {"search.png": "Scores of the search for PFML's settings"} if searched else {}
    wanted |= {f"map-{name}.png": f"R@1 over two settings: {name}" for name in params.map.draw}
    there = {name: title for name, title in wanted.items() if Path("reports/figures", name).is_file()}
    for name in there:
        copy_file(Path("reports/figures", name), project / "reports" / params.study / name)
    return there


def bring_results(params: Params, preset: str, project: Path) -> list[str]:
    """Copy the result files of finished runs, searches and maps alone; returns their names."""
    names = results_of(params, _is_own(params, preset))
    for name in names:
        copy_file(Path(name), project / name)
    return names


def _is_own(params: Params, preset: str) -> bool:
    """Whether the study is another than the project's default one, and not that of a preset under this one."""
    return params.study != yaml.load(committed_params(), Loader)["study"] and not is_search(preset)


def results_of(params: Params, own: bool) -> list[str]:
    """The study's result files in the working directory: of its searches, and where they are its `own` all others."""
    places = [f"tuning/{params.grid.dataset[0]}/{method}.csv" for method in params.tune.method]
    if own:
        places += [f"runs/{params.study}/**/*"]
        places += [f"{folder}/{params.study}.csv" for folder in ("complexity", "provenance")]
        places += [f"maps/{params.study}-{name}.csv" for name in params.map.draw]
    reports = Path("reports")
    return sorted(str(path) for place in places for path in reports.glob(place) if path.is_file())


def page_of(preset: str) -> str:
    return f"{COPIES}/{preset}/reports/index.html"
