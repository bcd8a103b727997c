"""The plan: params.yaml resolved into one small file for every later stage (data/plan/).

The stage `plan` writes it. Every stage up to evaluation reads only its own file, so that DVC runs exactly the stages
again that a change affects. `write_plan` writes only files whose content changed, and removes files that params.yaml no
longer asks for.

    runs/<run>.json                 a training run: its digest and its resolved configuration
    fetch/<dataset>.json            a dataset and how it is packed
    split/<dataset>.json            training classes, validation classes and folds
    noise/<dataset>-<noise>-<seed>.json
    evaluate.json                   measures of a trained run
    folds/<cross validation>.json   the runs of its folds
    wasserstein/<dataset>.json      choices for W2 that the paper leaves open, and the runs of the grid
    embedding_figures/<dataset>.json
    tune/<method>.json              a search: its trials, its space, its first runs
    theory.json, loss_figures.json
    study.json                      the study's name and settings of MLflow; no result depends on it
"""

import difflib
import json
from collections.abc import Iterator
from pathlib import Path

from pfml.settings import ConfigError
from pfml.settings.run import Run
from pfml.settings.runs import by_repeat, fold_runs, grid_runs, planned_runs, trial_run, validation_classes
from pfml.settings.schema import DATASETS, Params

FOLDER = Path("data/plan")


def write_plan(params: Params, folder: Path = FOLDER) -> int:
    """Write the plan of a study and remove other files of an earlier plan; returns the number of files."""
    planned = {folder / f"{name}.json": json.dumps(content, indent=1) + "\n" for name, content in plan_files(params)}
    for path in folder.rglob("*"):
        if path.is_file() and path not in planned:
            path.unlink()
    for path, text in planned.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return len(planned)


def plan_files(params: Params) -> Iterator[tuple[str, dict]]:
    """Yield (name without .json, JSON-ready content) of every file of the plan."""
    yield "study", {"study": params.study, "tracking": params.tracking.model_dump()}
    for run in planned_runs(params):
        yield f"runs/{run.name}", run.as_json()
    grid = grid_runs(params)
    for name in params.grid.dataset:
        yield f"fetch/{name}", params.dataset[name].model_dump(exclude={"validation_classes"})
        yield (
            f"split/{name}",
            {
                "train_classes": DATASETS.get(name, params.dataset[name].train_classes),
                "validation_classes": validation_classes(params, name),
                "folds": params.split.folds,
            },
        )
        names = [run.name for run in grid if run.dataset == name]
        yield f"wasserstein/{name}", {"settings": params.wasserstein.model_dump(), "runs": names}
        yield f"embedding_figures/{name}", {"runs": names}
        for noise in params.grid.noise:
            for seed in params.grid.seed:
                yield f"noise/{name}-{noise}-{seed}", _labels(params, name, noise, seed)
    yield "evaluate", params.evaluate.model_dump()
    for (_, repeat), folds in by_repeat(fold_runs(params)).items():
        yield f"folds/{repeat}", {"runs": [run.name for run in folds]}
    for method in params.tune.method:
        yield f"tune/{method}", planned_search(params, method)
    yield "theory", params.theory.model_dump()
    yield (
        "loss_figures",
        {
            "loss": params.loss.model_dump(),
            "field": {name: row.model_dump(include={"potential", "loss"}) for name, row in params.field.items()},
            "baseline": {name: row.loss for name, row in params.baseline.items()},
            "alphas": params.ablation.values("alpha"),
        },
    )


def _labels(params: Params, dataset: str, noise: float, seed: int) -> dict:
    """Settings for the labels of one dataset, noise and seed. `hold_out`: also draw labels for runs that train without
    the validation classes, since some run does.
    """
    runs = [run for run in planned_runs(params) if (run.dataset, run.noise, run.seed) == (dataset, noise, seed)]
    tune = params.tune
    searched = tune.method and noise in tune.noise and (dataset, seed) == (params.grid.dataset[0], tune.seed)
    kind = params.noise.model_dump() if noise else {"kind": "uniform"}
    held_out = bool(searched) or any(run.train["hold_out"] and run.fold is None for run in runs)
    return {"dataset": dataset, "noise": noise, "seed": seed, "settings": kind, "hold_out": held_out}


def planned_search(params: Params, method: str) -> dict:
    """The search for a method's settings, in the form that pfml.tuning reads."""
    space = params.tune.space_of(method)
    start = {key: dimension.start for key, dimension in space.items()}
    return {
        "dataset": params.grid.dataset[0], "method": method, "trials": params.tune.trials, "seed": params.tune.seed,
        "space": {key: dimension.model_dump() for key, dimension in space.items()},
        "runs": [trial_run(params, method, noise, start).as_json() for noise in params.tune.noise],
    }  # fmt: skip


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
