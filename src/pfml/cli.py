"""The command `pfml`: one function a sub-command. Each imports what it needs itself, so that `pfml --help` is quick."""

import argparse
import gc
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from pfml import __version__

PIPELINE = ("dvc", "mlflow", "pydantic", "yaml")  # modules of the extra `pipeline` that tell whether it is installed


def repro(jobs: int, preset: str | None, missing: bool) -> None:
    """run the pipeline: whatever is out of date, from dataset to reports/"""
    options = [f"-j{jobs}"] * bool(jobs) + [f"--preset={preset}"] * bool(preset) + ["--missing"] * missing
    # This process becomes the launcher, whose trainings look for its name above them. Like a stage, it runs the code of
    # the project that it works in.
    os.environ["PYTHONPATH"] = "src"
    os.execv(sys.executable, [sys.executable, "-m", "pfml.launch", *options])


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
    from pfml.launch.where import describe, find_records, one_each
    from pfml.settings.load import load_params

    found = one_each(find_records(name, load_params()))
    print("\n\n".join(map(describe, found)))


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


def embed(images: list[str], run: str, out: str, batch: int | None) -> None:
    """embed images of your own with a trained network: paths and vectors of unit length"""
    import pfml
    from pfml.settings import ConfigError
    from pfml.use.files import check_name, write_embeddings
    from pfml.use.pictures import listed

    check_name(Path(out))
    try:
        model, paths = pfml.load(run), listed(images)
        embeddings = model.embed(paths, batch, _tell)
        write_embeddings(Path(out), list(map(str, paths)), embeddings, model.digest)
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from None
    print(f"{out}: {len(paths)} images, {model.embedding_dim} dimensions, weights {model.digest}")


def search(queries: list[str], run: str, index: str, neighbours: int, page: str | None, kind: str) -> None:
    """find the images of a folder that are most similar to yours, by a trained network"""
    import pfml
    from pfml.settings import ConfigError
    from pfml.use.index import index_folder
    from pfml.use.page import table, write_page
    from pfml.use.pictures import listed

    try:
        model, paths = pfml.load(run), listed(queries)
        folder = index_folder(model, Path(index), lambda line: print(line, file=sys.stderr))
        values, places = folder.search(model.embed(paths), neighbours, kind)
        found = [
            [(Path(index, folder.paths[place]), float(value)) for place, value in zip(*row) if place >= 0]
            for row in zip(places, values)
        ]
        print(table(list(map(str, paths)), found))
        if page:
            write_page(Path(page), paths, found, f"Nearest images in {index}, by {run}")
            print(page, file=sys.stderr)
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from None


def _tell(done: int, count: int) -> None:
    """A line of progress that overwrites itself, on a terminal alone."""
    if sys.stderr.isatty():
        print(f"\r{done} of {count} images", end="\n" if done == count else "", file=sys.stderr, flush=True)


def ui() -> None:
    """browse the runs in MLflow, at http://127.0.0.1:5000 or the port that PORT names"""
    from pfml.settings.load import load_params
    from pfml.tracking.tags import experiment_name
    from pfml.tracking.ui import serve

    params = load_params()
    serve(experiment_name(params.tracking.experiment, params.study))


JOBS = {"type": int, "default": 0, "metavar": "N", "help": "runs at a time (default: one per GPU, else one per core)"}
PRESET = {"metavar": "NAME", "help": "run presets/NAME.yaml in a working copy (`pfml presets` lists them)"}
SAVE = {"metavar": "NAME", "help": "first write what differs in params.yaml to presets/NAME.yaml"}
RUNS = {"type": int, "default": 0, "metavar": "N", "help": "train N runs anew in a temporary clone, and verify those"}
MISSING = {"action": "store_true", "help": "do not train a run whose result is in reports/runs already"}
OF_PRESET = {"metavar": "NAME", "help": "of the study of presets/NAME.yaml"}
ONLY = {"metavar": "RUN,RUN", "help": "these runs alone"}
NAME = {"metavar": "RUN", "help": "an MLflow run's id, a digest, a run's name, or a row: glyphs/conv3/64/pfml/0.2"}
IMAGES = {"nargs": "+", "metavar": "IMAGES", "help": "image files, and folders of them"}
RUN = {"required": True, "metavar": "RUN", "help": "a trained run (as in `pfml where`), or the folder of its network"}
OUT = {"required": True, "metavar": "FILE", "help": "embeddings.npz or embeddings.parquet"}
INDEX = {"required": True, "metavar": "FOLDER", "help": "the images to search in; their index is kept in FOLDER/.pfml"}
NEIGHBOURS = {"type": int, "default": 5, "metavar": "K", "help": "images to find (default 5)"}
PAGE = {"metavar": "FILE.html", "help": "also write a page with the pictures"}
KIND = {"choices": ("auto", "exact", "hnsw"), "default": "auto", "help": "auto: exact up to 200,000 images"}
BATCH = {"type": int, "default": None, "metavar": "N", "help": "images at a time"}
HERE = {"action": "store_true", "help": "at the commit that is checked out"}
NAMES = {"nargs": "*", "metavar": "NAME", "help": "a preset"}
COMMANDS = (  # a function, named as its sub-command and with the help as its docstring, and its arguments
    (repro, {("-j", "--jobs"): JOBS, ("--preset",): PRESET, ("--missing",): MISSING}),
    (presets, {("names",): NAMES}),
    (default, {("--save",): SAVE}),
    (verify, {("--runs",): RUNS, ("--preset",): OF_PRESET, ("--only",): ONLY}),
    (tables, {}),
    (tune, {}),
    (where, {("name",): NAME}),
    (rerun, {("name",): NAME, ("--here",): HERE}),
    (
        search,
        {
            ("queries",): IMAGES,
            ("--run",): RUN,
            ("--index",): INDEX,
            ("-k", "--neighbours"): NEIGHBOURS,
            ("--page",): PAGE,
            ("--kind",): KIND,
        },
    ),
    (embed, {("images",): IMAGES, ("--run",): RUN, ("--out",): OUT, ("--batch",): BATCH}),
    (ui, {}),
)
ANYWHERE = (embed, search)  # the others work in the project's root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Args:
        arguments: those behind `pfml`; None: those of this process.

    Returns:
        the exit code: 2 for a wrong setting, folder or argument, 1 where the pipeline's packages are not installed.
    """
    given = _parser().parse_args(arguments)
    if given.command is None:
        _parser().print_help()
        return 0
    options = {name: value for name, value in vars(given).items() if name != "command"}
    if missing := [name for name in PIPELINE if find_spec(name) is None]:
        return _error(
            f"pfml {given.command.__name__} needs packages that are not installed ({', '.join(missing)}): "
            "pip install 'pfml[pipeline]'",
            1,
        )
    if given.command not in ANYWHERE and not Path("params.yaml").is_file():
        return _error(f"{Path.cwd()}: expected params.yaml here, found none; run from the project's root", 2)
    from pfml.launch.locks import Busy
    from pfml.settings.validation import ConfigError

    try:
        given.command(**options)
        sys.stdout.flush()
    except ConfigError as error:
        return _error(error, 2)
    except Busy as error:
        return _error(error, 1)
    except BrokenPipeError:  # `pfml presets | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pfml", description="The reproduction of PFML, from the project's root.")
    parser.add_argument("--version", action="version", version=f"pfml {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="sub-commands", metavar="COMMAND")
    for function, options in COMMANDS:
        one = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        one.set_defaults(command=function)
        for names, about in options.items():
            one.add_argument(*names, **about)
    return parser


def _error(message, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
