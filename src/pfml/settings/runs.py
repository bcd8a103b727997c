"""The training runs of a params.yaml: of the grid, the ablations, cross validations, searches and timings."""

import difflib
from dataclasses import replace

from pfml.losses import LOSSES
from pfml.settings import ConfigError, schema
from pfml.settings import losses as loss_settings
from pfml.settings.run import Run, with_effect
from pfml.settings.run_checks import check_classes, check_images, check_trunk, held_out_classes
from pfml.settings.study import parse_point
from pfml.settings.validation import check


def resolve(params: schema.Params, path, method: str, **point) -> Run:
    """The run of `method` at `point` (dataset, noise, seed; also fold and folds for mlrc).

    A setting comes from the shared section, unless the method's own section sets it. The dataset's recipe overrides
    both.
    """
    recipe = params.recipe[point["dataset"]]
    if method in params.field:
        row, group = params.field[method], "field"
        loss_name = row.potential
        kind = loss_settings.LOSS_SETTINGS[loss_name]
        shared = params.loss.model_dump()
        of_recipe = {key: value for key, value in recipe.loss.items() if key in kind.model_fields}
        loss = {key: value for key, value in shared.items() if key in kind.model_fields} | row.loss | of_recipe
    else:
        row, group = params.baseline[method], "baseline"
        loss_name, loss, kind = method, row.loss, loss_settings.LOSS_SETTINGS[method]
    loss = check(kind, loss, f"{group}.{method}.loss", path)
    train = check(schema.Train, params.train.model_dump() | row.train, f"{group}.{method}.train", path)
    train = check(schema.Train, train.model_dump() | recipe.train, f"recipe.{point['dataset']}.train", path)
    model = check(schema.Model, params.model.model_dump() | recipe.model, f"recipe.{point['dataset']}.model", path)
    own, trains = getattr(row, "model", {}), LOSSES[loss_name].trains
    if own or not trains:
        changed = model.model_dump() | own | ({} if trains else {"head": "none"})
        model = check(schema.Model, changed, f"{group}.{method}.model", path)
    name = point["dataset"]
    fixed = validation_classes(params, name)
    check_classes(train, held_out_classes(train, fixed, name, point.get("folds", 0), path), name, path)
    check_images(train, params.dataset[name], name, path)
    check_trunk(train, model, trains, name, path, own_head=LOSSES[loss_name].head is not None)
    return Run(
        study=params.study, method=method, loss_name=loss_name, loss=loss.model_dump(),
        train=with_effect(train.model_dump(), trains), model=model.model_dump(), validation_classes=fixed,
        noise_kind=params.noise.settings(point["noise"]),
        data={} if name == "glyphs" else params.dataset[name].settings(), label_fit_every=params.memorisation.every,
        loss_version=LOSSES[loss_name].version,
        **point,
    )  # fmt: skip


def validation_classes(params: schema.Params, dataset: str) -> int:
    """Number of validation classes of a dataset: its own setting, or else that of `split`."""
    count = params.dataset[dataset].validation_classes
    return params.split.validation_classes if count is None else count


def grid_runs(params: schema.Params, path="params.yaml") -> list[Run]:
    """Every training run of the grid, in the order of its axes: dataset, method, noise, seed."""
    return [
        resolve(params, path, method, dataset=dataset, noise=noise, seed=seed)
        for dataset in params.grid.dataset
        for method in params.grid.field + params.grid.baseline
        for noise in params.grid.noise
        for seed in params.grid.seed
    ]


def fold_runs(params: schema.Params, path="params.yaml") -> list[Run]:
    """Every training run of `mlrc`: dataset, method, seed, fold. Labels are clean."""
    return [
        resolve(params, path, method, dataset=dataset, noise=0.0, seed=seed, fold=fold, folds=params.split.folds)
        for dataset in params.grid.dataset
        for method in params.mlrc.methods
        for seed in params.grid.seed
        for fold in params.mlrc.fold
    ]


def by_repeat(runs: list[Run]) -> dict[tuple[str, str], list[Run]]:
    """Group `fold_runs` by study and cross validation; the folds of a group keep their order."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.study, run.repeat), []).append(run)
    return groups


def trial_run(params: schema.Params, method: str, noise: float, settings: dict, path="params.yaml") -> Run:
    """One training of a search: a method's run on the first dataset with some settings changed. The validation classes
    are held out, and only the last epoch is measured.

    Raises:
        ConfigError: a setting that the method does not have, or a value that the setting cannot have.
    """
    tune = params.tune
    base = resolve(params, path, method, dataset=params.grid.dataset[0], noise=noise, seed=tune.seed)
    moved = {"loss": dict(base.loss), "train": dict(base.train) | {"hold_out": True, "precision": tune.precision}}
    moved["train"]["select"] = "last"
    for key, value in settings.items():
        section, name = key.split(".")
        moved[section][name] = value
    moved["train"]["eval_every"] = moved["train"]["epochs"]
    kinds = {"loss": loss_settings.LOSS_SETTINGS[base.loss_name], "train": schema.Train}
    checked = {name: check(kind, moved[name], f"tune.space: {method}.{name}", path) for name, kind in kinds.items()}
    check_classes(checked["train"], base.validation_classes, base.dataset, path)
    return replace(base, loss=checked["loss"].model_dump(), train=with_effect(checked["train"].model_dump()))


def map_runs(params: schema.Params, name: str, path="params.yaml") -> list[tuple[dict, Run]]:
    """The points of a map and their runs: a field method on the first dataset with two settings of its loss changed.
    They are measured at their end only.

    Raises:
        ConfigError: a method, label noise or seed that the study does not have, or a value that a setting cannot have.
    """
    wanted = params.map
    if wanted.method not in params.field:
        raise ConfigError(
            f"{path}: map.method: expected a field method ({', '.join(params.field)}), found {wanted.method!r}"
        )
    for axis, value in (("noise", wanted.noise), ("seed", wanted.seed)):
        if str(value) not in map(str, getattr(params.grid, axis)):
            raise ConfigError(
                f"{path}: map.{axis}: expected a value of grid.{axis} {getattr(params.grid, axis)}, found {value}"
            )
    base = resolve(params, path, wanted.method, dataset=params.grid.dataset[0], noise=wanted.noise, seed=wanted.seed)
    kind, train = loss_settings.LOSS_SETTINGS[base.loss_name], dict(base.train)
    train |= {"eval_every": train["epochs"], "select": "last", "patience": 0}
    found = []
    for point in wanted.points(name):
        loss = check(kind, dict(base.loss) | point, f"map.over.{name}", path)
        found.append((point, replace(base, loss=loss.model_dump(), train=train, label_fit_every=0)))
    return found


def timing_runs(params: schema.Params, path="params.yaml") -> list[Run]:
    """The runs that Table 9 times: some baselines, and PFML with several numbers of proxies."""
    point = {"dataset": params.grid.dataset[0], "noise": params.grid.noise[0], "seed": params.grid.seed[0]}
    for name in params.complexity.baseline:
        if name not in params.baseline:
            near = difflib.get_close_matches(name, params.baseline, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{path}: complexity.baseline: unknown method {name!r}{hint}")
    runs = [resolve(params, path, name, **point) for name in params.complexity.baseline]
    counts = params.complexity.proxies_per_class
    if counts and "pfml" not in params.field:
        raise ConfigError(f"{path}: complexity.proxies_per_class: its runs need field.pfml, which is not there")
    for count in counts:
        base = resolve(params, path, "pfml", **point)
        loss = dict(base.loss) | {"proxies_per_class": count}
        runs.append(replace(base, loss=loss, axis="proxies_per_class", value=count))
    return runs


def ablation_default(params: schema.Params, axis: str) -> float:
    """The value of an ablation axis in the grid's pfml runs."""
    loss = resolve(params, "params.yaml", "pfml", dataset=params.grid.dataset[0], noise=0, seed=0).loss
    if axis == "delta_gap":
        if loss["delta_rep"] == "auto":
            raise ConfigError("ablation.points: delta_gap has no default value where loss.delta_rep is auto")
        return round((loss["delta_rep"] or loss["delta"]) - loss["delta"], 12)
    return loss[axis]


def ablation_base(params: schema.Params, axis: str) -> tuple[float, list[Run]]:
    """The default value of an axis, and the grid's runs that have it."""
    point = (params.grid.dataset[0], "pfml", params.ablation.noise)
    return ablation_default(params, axis), [c for c in grid_runs(params) if (c.dataset, c.method, c.noise) == point]


def ablation_runs(params: schema.Params, path="params.yaml") -> list[Run]:
    """The runs of ablation.points, each point with every seed. The grid itself has the runs with the default value."""
    return [
        ablation_run(params, *parse_point(point), seed, path)
        for point in params.ablation.points
        for seed in params.grid.seed
    ]


def ablation_run(params: schema.Params, axis: str, value: float, seed: int, path="params.yaml") -> Run:
    """PFML as in the grid with one setting changed. `delta` changes both radii if delta_rep is null (as in Fig. 3b)."""
    base = resolve(params, path, "pfml", dataset=params.grid.dataset[0], noise=params.ablation.noise, seed=seed)
    change = {"delta_rep": round(base.loss["delta"] + value, 12)} if axis == "delta_gap" else {axis: value}
    try:
        loss = check(loss_settings.FieldLoss, dict(base.loss) | change, "", path)
    except ConfigError as error:
        raise ConfigError(
            f"{path}: ablation.points: {axis}-{value} cannot be used ({str(error).split(': ', 1)[1]})"
        ) from None
    return replace(base, loss=loss.model_dump(), axis=axis, value=value)


def planned_runs(params: schema.Params) -> list[Run]:
    """Every run that the pipeline trains for a study: grid, ablations and folds."""
    return grid_runs(params) + ablation_runs(params) + fold_runs(params)


def find_run(runs: list[Run], name: str) -> Run:
    """The run called `name`.

    Raises:
        ConfigError: no such run; names the nearest one.
    """
    by_name = {run.name: run for run in runs}
    if name not in by_name:
        near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.0)
        raise ConfigError(f"run {name!r} is not in the grid of params.yaml; the nearest is {near[0]!r}")
    return by_name[name]
