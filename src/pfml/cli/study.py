"""The sub-commands of the pipeline: run it, browse it, check it, trace its numbers."""

import gc
import os
import runpy
import sys
from pathlib import Path


def repro(jobs: int, preset: str | None, missing: bool) -> None:
    """run the pipeline: whatever is out of date, from dataset to reports/"""
    options = [f"-j{jobs}"] * bool(jobs) + [f"--preset={preset}"] * bool(preset) + ["--missing"] * missing
    # This process becomes the launcher, whose trainings look for its name above them. Like a stage, it runs the code of
    # the project that it works in.
    os.environ["PYTHONPATH"] = "src"
    os.execv(sys.executable, [sys.executable, "-m", "pfml.launch", *options])


def grid(on: str, address: str | None, slurm: str | None, preset: str | None, missing: bool) -> None:
    """run the pipeline with its trainings on a cluster (docs/scaling.md)"""
    given = {"on": on, "address": address, "slurm": slurm, "preset": preset}
    options = [f"--{name}={value}" for name, value in given.items() if value]
    os.environ["PYTHONPATH"] = _own_sources()
    os.execv(sys.executable, [sys.executable, "-m", "pfml.launch", *options, *["--missing"] * missing])


def sweep(
    settings: list[str], name: str | None, jobs: int, on: str | None, address: str | None, slurm: str | None
) -> None:
    """run every combination of some settings as an experiment of DVC, and draw them (docs/scaling.md)"""
    from pfml.launch.engines.local import at_a_time
    from pfml.launch.sweep.runs import sweep as run_sweep

    given = {"on": on, "address": address, "slurm": slurm}
    options = [f"--{key}={value}" for key, value in given.items() if value]
    os.environ["PYTHONPATH"] = _own_sources()
    sys.exit(run_sweep(settings, name, jobs or (10 if on else at_a_time(0)[0]), options))


def _own_sources() -> str:
    """PYTHONPATH with the code of the project before what is there."""
    return os.pathsep.join(["src", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])


def presets(names: list[str]) -> None:
    """list the paper's own studies and yours; with names, print each as one `dvc exp run`"""
    from pfml.settings.load import load_params
    from pfml.settings.presets import PARAMS, command_line, listing, preset_title

    load_params(PARAMS)
    commands = {name: command_line(name) for name in names}
    print("\n\n".join(f"# {name}: {preset_title(name)}\n{one}" for name, one in commands.items()) or listing())


def default(save: str | None) -> None:
    """bring params.yaml and dvc.lock back as they are committed, unless that would lose something"""
    from pfml.launch.default import restore_default

    print(restore_default(save))


def verify(runs: int, preset: str | None, only: str | None) -> None:
    """compare what this machine computed with the committed results: exit 0 equal, 3 close, 1 beyond the spread"""
    from pfml.launch import verify as check
    from pfml.settings import ConfigError
    from pfml.settings.load import load_params
    from pfml.settings.presets import PARAMS, preset_params
    from pfml.settings.run import COPIES
    from pfml.settings.runs import planned_runs

    params = preset_params(preset) if preset else load_params(PARAMS)
    planned = planned_runs(params)
    if runs:
        sys.exit(check.train_anew(check.sample(planned, runs), params.grid.field + params.mlrc.field, preset))
    if preset:
        copy = Path(COPIES, preset)
        if not copy.is_dir():
            raise ConfigError(f"{copy}: not there; run `make repro PRESET={preset}` first, or train some with RUNS=3")
        os.chdir(copy)
    checks = check.check_runs(run for run in planned if only is None or run.name in only.split(","))
    print(check.describe(checks))
    if only is None and (changed := check.changed_files()):
        print(f"{len(changed)} tracked files differ from the commit (`git diff`): {', '.join(changed[:8])}")
    sys.exit(check.exit_code(checks))


def tables() -> None:
    """render the tables, their page and figures again, from the results on disk alone"""
    from pfml.launch.locks import at_work

    if working := at_work():
        who = f"a pipeline is at work in this folder (process {', '.join(map(str, working))})"
        print(f"{who}: the tables have what it has finished by now; at its end it renders them again", flush=True)
    # The stages in this process, without DVC, which starts Python for each and reads 300 stages: half of the seconds.
    gc.disable()  # a render makes few cycles, and looking for them took a seventh of its time
    for stage in ("figures", "report", "page"):
        runpy.run_path(f"stages/{stage}.py")
    print("reports/tables.md, reports/index.html and reports/figures/ are rendered")


def tune() -> None:
    """print the best settings that the search found, as they would stand in params.yaml"""
    import yaml

    from pfml.settings.load import load_params
    from pfml.tuning import best_settings

    folder = Path("reports/tuning", load_params().grid.dataset[0])
    found = best_settings(folder)
    if not found:
        sys.exit(f"error: {folder}: no search has run; `make repro PRESET=glyphs-tune` runs one")
    print(yaml.safe_dump(found, sort_keys=False), end="")


def where(name: str) -> None:
    """say where a number comes from: settings, commit, labels, files and MLflow run of a run"""
    from pfml.launch.cells import cells, describe_cell, is_cell
    from pfml.launch.where import describe, find_records, one_each_result, records
    from pfml.settings import ConfigError
    from pfml.settings.load import load_params

    params = load_params()
    if not is_cell(name):
        print("\n\n".join(map(describe, one_each_result(find_records(name, params)))))
    elif found := cells(name, records(params)):
        print("\n".join(map(describe_cell, found)))
        print("`pfml where <digest>` says more of a run; published numbers and differences are not looked up")
    else:
        raise ConfigError(
            f"{name!r}: no row of any study has this mean over its seeds, in percent or of W2; published numbers "
            "and differences are not looked up"
        )


def rerun(name: str, here: bool) -> None:
    """make a run again in a clone of the commit that made it, and compare: exit 0 equal, 1 different"""
    from pfml.launch.rerun import rerun as make_again
    from pfml.launch.where import find_records, one_each
    from pfml.settings import ConfigError
    from pfml.settings.load import load_params

    found = one_each(record for record in find_records(name, load_params()) if record.run)
    if len(found) != 1:
        names = ", ".join(f"{record.digest} ({record.name})" for record in found[:8]) or "none with settings of today"
        raise ConfigError(f"{name}: expected one run, found {names}")
    sys.exit(make_again(found[0], here))


def ui() -> None:
    """browse the runs in MLflow, at http://127.0.0.1:5000 or the port that PORT names"""
    from pfml.settings.load import load_params
    from pfml.tracking.tags import experiment_name
    from pfml.tracking.ui import serve

    params = load_params()
    family = params.tracking.experiment
    serve(experiment_name(family, params.study), family)
