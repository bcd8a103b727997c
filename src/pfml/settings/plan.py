"""The plan: params.yaml resolved into one small file for every later stage (data/plan/).

The stage `plan` writes it (planning.py). Every stage up to evaluation reads only its own file, so that DVC runs exactly
the stages again that a change affects. Only files whose content changed are written, and files that params.yaml no
longer asks for are removed.

    runs/<run>.json                 a training run: its digest and its resolved configuration
    fetch/<dataset>.json            a dataset and how it is packed
    split/<dataset>.json            training classes, validation classes and folds
    features/<dataset>.json         the features of a frozen trunk
    noise/<dataset>-<noise>-<seed>.json
    evaluate.json                   measures of a trained run, and choices for W2 that the paper leaves open
    folds/<cross validation>.json   the runs of its folds
    embedding_figures/<dataset>.json
    tune/<method>.json              a search: its trials, its space, its first runs
    map/<name>.json                 the points of a map and their runs
    theory.json, loss_figures.json
    study.json                      the study's name and settings of MLflow; no result depends on it
"""

import difflib
import json
from pathlib import Path

from pfml.settings import ConfigError
from pfml.settings.run import Run

FOLDER = Path("data/plan")


def read_plan(name: str, folder: Path = FOLDER) -> dict:
    """One file of the plan.

    Args:
        name: path in data/plan, without .json.

    Raises:
        ConfigError: no such file; names the nearest one.
    """
    path = folder / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = sorted(planned.stem for planned in path.parent.glob("*.json"))
        if not names:
            raise ConfigError(f"{path}: there is no plan; write it with `dvc repro plan`") from None
        near = difflib.get_close_matches(path.stem, names, n=1, cutoff=0.0)[0]
        raise ConfigError(f"{path}: params.yaml asks for no {path.stem!r}; the nearest is {near!r}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}; write it again with `dvc repro --force --single-item plan`") from None


def read_run(name: str, folder: Path = FOLDER) -> Run:
    """The run called `name` of the planned study.

    Raises:
        ConfigError: no such run (names the nearest one), or a file that somebody changed by hand.
    """
    try:
        return Run.from_json(read_plan(f"runs/{name}", folder), read_plan("study", folder)["study"])
    except (KeyError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        text = error if isinstance(error, ValueError) else f"{error}: missing"
        place = folder / "runs" / f"{name}.json"
        raise ConfigError(f"{place}: {text}; write it again with `dvc repro --force --single-item plan`") from None
