"""Write the plan of a study. Apart from plan.py, which every stage reads with, since the settings of all losses take
seconds to import.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from pfml.settings import ConfigError
from pfml.settings.files import write_whole
from pfml.settings.plan import FOLDER
from pfml.settings.run import Run
from pfml.settings.runs import (
    by_repeat,
    fold_runs,
    grid_runs,
    map_runs,
    planned_runs,
    trial_run,
    validation_classes,
)
from pfml.settings.schema import DATASETS, Params


def write_plan(params: Params, folder: Path = FOLDER) -> int:
    """Write the plan of a study and remove other files of an earlier plan; returns the number of files."""
    planned = {folder / f"{name}.json": json.dumps(content, indent=1) + "\n" for name, content in plan_files(params)}
    for path in folder.rglob("*"):
        if path.is_file() and path not in planned:
            path.unlink()
    for path, text in planned.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)
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
        yield f"features/{name}", planned_features(params, name)
        names = [run.name for run in grid if run.dataset == name]
        yield f"embedding_figures/{name}", {"runs": names}
        for noise in params.grid.noise:
            for seed in params.grid.seed:
                yield f"noise/{name}-{noise}-{seed}", _labels(params, name, noise, seed)
    yield "evaluate", {"evaluate": params.evaluate.model_dump(), "wasserstein": params.wasserstein.model_dump()}
    for (_, repeat), folds in by_repeat(fold_runs(params)).items():
        yield f"folds/{repeat}", {"runs": [run.name for run in folds]}
    for method in params.tune.method:
        yield f"tune/{method}", planned_search(params, method)
    for name in params.map.draw:
        points = [{"point": point, "run": run.as_json()} for point, run in map_runs(params, name)]
        yield f"map/{name}", {"points": points}
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


def planned_features(params: Params, dataset: str) -> dict:
    """What the stage `features` computes for a dataset: nothing where the whole network trains.

    Raises:
        ConfigError: runs of the dataset that need different features.
    """
    of_dataset = [run for run in planned_runs(params) if run.dataset == dataset]
    needed = {json.dumps(features_of(run), sort_keys=True): run for run in of_dataset}
    if len(needed) > 1:
        one, other = list(needed.values())[:2]
        raise ConfigError(
            f"recipe.{dataset}: train.trunk, trained_stages, views and transform: expected the same for all methods of "
            f"a dataset with a frozen trunk, found others for {one.method} and {other.method}"
        )
    return json.loads(next(iter(needed), '{"trunk": "fine_tune"}'))


def features_of(run: Run) -> dict:
    """The settings that decide the features a run trains on; `seed` is of the random views."""
    if run.trunk == "fine_tune":
        return {"trunk": "fine_tune"}
    model = {key: value for key, value in run.model.items() if key not in ("embedding_dim", "head", "head_init")}
    train = {key: run.train[key] for key in ("transform", "crop_padding")}
    stages = run.train["trained_stages"] if run.trunk == "partial" else 0
    return {
        "trunk": run.trunk, "trained_stages": stages, "views": run.train["views"], "seed": 0, "model": model,
        "train": train,
    }  # fmt: skip


def planned_search(params: Params, method: str) -> dict:
    """The search for a method's settings, in the form that pfml.tuning reads."""
    space = params.tune.space_of(method)
    start = {key: dimension.start for key, dimension in space.items()}
    return {
        "dataset": params.grid.dataset[0], "method": method, "trials": params.tune.trials, "seed": params.tune.seed,
        "space": {key: dimension.model_dump() for key, dimension in space.items()},
        "runs": [trial_run(params, method, noise, start).as_json() for noise in params.tune.noise],
    }  # fmt: skip
