"""The command `pfml`: one function a sub-command. Each imports what it needs itself, so that `pfml --help` is quick.

`study` has those of the pipeline, `use` those that use a trained network.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from pfml import __version__
from pfml.cli.study import default, grid, presets, repro, rerun, sweep, tables, tune, ui, verify, where
from pfml.cli.use import embed, export, register_model, search

PIPELINE = ("dvc", "mlflow", "pydantic", "yaml")  # modules of the extra `pipeline` that tell whether it is installed


JOBS = {"type": int, "default": 0, "metavar": "N", "help": "runs at a time (default: one per GPU, else one per core)"}
PRESET = {"metavar": "NAME", "help": "run presets/NAME.yaml in a working copy (`pfml presets` lists them)"}
SAVE = {"metavar": "NAME", "help": "first write what differs in params.yaml to presets/NAME.yaml"}
RUNS = {"type": int, "default": 0, "metavar": "N", "help": "train N runs anew in a temporary clone, and verify those"}
MISSING = {"action": "store_true", "help": "do not train a run whose result is in reports/runs already"}
OF_PRESET = {"metavar": "NAME", "help": "of the study of presets/NAME.yaml"}
ONLY = {"metavar": "RUN,RUN", "help": "these runs alone"}
NAME = {"metavar": "RUN", "help": "an MLflow run's id, a digest, a run's name, or a row: glyphs/conv3/64/pfml/0.2"}
FOUND = NAME | {"help": NAME["help"] + "; or a cell of the tables: '81.1 ± 0.6'"}
IMAGES = {"nargs": "+", "metavar": "IMAGES", "help": "image files, and folders of them"}
RUN = {"required": True, "metavar": "RUN", "help": "a trained run (as in `pfml where`), or the folder of its network"}
OUT = {"required": True, "metavar": "FILE", "help": "embeddings.npz or embeddings.parquet"}
INDEX = {"required": True, "metavar": "FOLDER", "help": "the images to search in; their index is kept in FOLDER/.pfml"}
NEIGHBOURS = {"type": int, "default": 5, "metavar": "K", "help": "images to find (default 5)"}
PAGE = {"metavar": "FILE.html", "help": "also write a page with the pictures"}
KIND = {"choices": ("auto", "exact", "hnsw"), "default": "auto", "help": "auto: exact up to 200,000 images"}
BATCH = {"type": int, "default": None, "metavar": "N", "help": "images at a time"}
HERE = {"action": "store_true", "help": "at the commit that is checked out"}
ON = {"required": True, "choices": ("ray", "slurm"), "help": "the engine"}
ADDRESS = {"metavar": "HOST:PORT", "help": "of a Ray cluster; default: one of this machine alone"}
SLURM = {"metavar": "KEY=VALUE,...", "help": "settings of Slurm: partition=gpu,time=600,array_parallelism=32"}
VALUES = {
    "action": "append", "required": True, "metavar": "SETTING=VALUES", "help": "loss.alpha=1..6 or loss.delta=0.1,0.2",
}  # fmt: skip
SWEEP = {"metavar": "NAME", "help": "of the files in reports/sweeps (default: the settings')"}
POINTS = {
    "type": int,
    "default": 0,
    "metavar": "N",
    "help": "points at a time (default: as runs of make repro; 10 on an engine)",
}
NAMES = {"nargs": "*", "metavar": "NAME", "help": "a preset"}
FORMAT = {"required": True, "choices": ("safetensors", "onnx", "torch.export"), "help": "of the network"}
TO = {"required": True, "metavar": "FOLDER", "help": "a new folder"}
SIDE = {"type": int, "default": None, "metavar": "PIXELS", "help": "of the images, for a network that takes any"}
MODEL = {"required": True, "metavar": "NAME", "help": "of the registered model"}
COMMANDS = (  # a function, named as its sub-command and with the help as its docstring, and its arguments
    (repro, {("-j", "--jobs"): JOBS, ("--preset",): PRESET, ("--missing",): MISSING}),
    (
        grid,
        {("--on",): ON, ("--address",): ADDRESS, ("--slurm",): SLURM, ("--preset",): PRESET, ("--missing",): MISSING},
    ),
    (
        sweep,
        {
            ("-S", "--set-param"): VALUES | {"dest": "settings"},
            ("--name",): SWEEP,
            ("-j", "--jobs"): POINTS,
            ("--on",): ON | {"required": False},
            ("--address",): ADDRESS,
            ("--slurm",): SLURM,
        },
    ),
    (presets, {("names",): NAMES}),
    (default, {("--save",): SAVE}),
    (verify, {("--runs",): RUNS, ("--preset",): OF_PRESET, ("--only",): ONLY}),
    (tables, {}),
    (tune, {}),
    (where, {("name",): FOUND}),
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
    (export, {("--run",): RUN, ("--format",): FORMAT, ("--out",): TO, ("--side",): SIDE}),
    (register_model, {("--run",): RUN, ("--name",): MODEL}),
    (ui, {}),
)
ANYWHERE = (embed, search, export)  # the others work in the project's root


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
            f"pfml {named(given.command)} needs packages that are not installed ({', '.join(missing)}): "
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
        one = commands.add_parser(named(function), help=function.__doc__, description=function.__doc__)
        one.set_defaults(command=function)
        for names, about in options.items():
            one.add_argument(*names, **about)
    return parser


def named(function: Callable) -> str:
    return function.__name__.replace("_", "-")


def _error(message, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
