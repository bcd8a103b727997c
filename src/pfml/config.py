"""params.yaml as typed frozen objects, and the grid of training runs (cells) that it describes."""

import difflib
import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import yaml

from pfml import loss_settings, schema, theory_settings, tune_settings
from pfml.cell import Cell
from pfml.validation import ConfigError, Loader, check

ABLATION_AXES = ("proxies_per_class", "alpha", "delta", "delta_gap")


def load_params(path: str | Path = "params.yaml") -> schema.Params:
    """Read and check a parameter file, including every section that a method lays over the shared ones.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type or value out of range; names the key, what was found,
            what was expected and the nearest valid name.
    """
    try:
        raw = yaml.load(Path(path).read_text(), Loader=Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); run from the project's root") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    params = params_from(raw, path)
    _check_tune(params, path)
    return params


def params_from(raw, path: str | Path) -> schema.Params:
    """As `load_params`, of data already read; errors name `path`. Searches are not checked: a preset that is laid over
    a params.yaml with searches has another grid, for which they are not meant.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected sections such as grid, train and loss, found {type(raw).__name__}")
    params = check(schema.Params, raw, "", path)
    _check_names(params, path)
    _check_recipes(params, path)
    _check_theory(params.theory, path)
    for cell in grid_cells(params, path) + ablation_cells(params, path) + complexity_cells(params, path):
        del cell  # resolving a cell checks its settings
    several = [noise for noise in params.grid.noise if noise]
    if params.noise.kind == "list" and len(several) > 1 and "{noise}" not in params.noise.list:
        raise ConfigError(
            f"{path}: noise.list: one file for the fractions {several} of grid.noise; expected {{noise}} in its name, "
            "or one fraction"
        )
    return params


def _check_names(params: schema.Params, path) -> None:
    """Grid axes must name sections that exist, and the ablation must start from a run of the grid."""
    axes = (("dataset", "dataset"), ("field", "method"), ("baseline", "method"))
    for axis, what in axes:
        sections = getattr(params, axis)
        for name in getattr(params.grid, axis):
            if name not in sections:
                near = difflib.get_close_matches(name, sections, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ConfigError(f"{path}: grid.{axis}: unknown {what} {name!r}{hint} (valid: {', '.join(sections)})")
        names = getattr(params.grid, axis)
        if len(set(names)) < len(names):
            raise ConfigError(f"{path}: grid.{axis}: expected each method once, found {names}")
    if not params.grid.field + params.grid.baseline:
        raise ConfigError(f"{path}: grid.field, grid.baseline: expected at least one method, found two empty lists")
    for name in params.baseline:
        if name not in loss_settings.BASELINES:
            near = difflib.get_close_matches(name, loss_settings.BASELINES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"{path}: baseline.{name}: unknown method{hint} (valid: {', '.join(loss_settings.BASELINES)})"
            )
    if not any(getattr(params.ablation, axis) for axis in ABLATION_AXES):
        return
    base = (("noise", params.ablation.noise), ("field", "pfml"))
    for axis, value in base:
        # Compared as written: files are named after the spelling, 0 is not 0.0 there.
        if str(value) not in map(str, getattr(params.grid, axis)):
            raise ConfigError(
                f"{path}: ablation: its base run needs {value!r} in grid.{axis}, found {getattr(params.grid, axis)}; "
                "add it, or empty the four lists under ablation"
            )


def _check_recipes(params: schema.Params, path) -> None:
    """A recipe for every dataset and a dataset for every recipe; also those that the grid does not name are usable."""
    for name, entry in params.dataset.items():
        if (name in schema.DATASETS) != (entry.kind == "catalogue"):
            wanted = "catalogue" if name in schema.DATASETS else "folder or csv"
            raise ConfigError(
                f"{path}: dataset.{name}.kind: expected {wanted}, found {entry.kind} "
                f"(the catalogue has {', '.join(schema.DATASETS)})"
            )
        unread = entry.model_fields_set - {"kind", "validation_classes"}
        if name == "glyphs" and unread:
            raise ConfigError(f"{path}: dataset.glyphs: is drawn, not packed; expected no {', '.join(sorted(unread))}")
        if name not in params.recipe:
            raise ConfigError(f"{path}: recipe.{name}: missing; expected what {name} changes, or {{}} for nothing")
    for name in params.recipe:
        if name not in params.dataset:
            raise ConfigError(
                f"{path}: recipe.{name}: there is no dataset.{name} (there are {', '.join(params.dataset)})"
            )
        for section, kind in (("model", schema.Model), ("train", schema.Train), ("loss", loss_settings.FieldLoss)):
            shared = getattr(params, section).model_dump()
            check(kind, shared | getattr(params.recipe[name], section), f"recipe.{name}.{section}", path)


def _check_tune(params: schema.Params, path) -> None:
    """A search needs methods that exist, labels that the grid makes, and settings that the methods have."""
    tune = params.tune
    if not tune.method:
        return
    for method in tune.method:
        if method not in {**params.field, **params.baseline}:
            near = difflib.get_close_matches(method, [*params.field, *params.baseline], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{path}: tune.method: {method!r} is in neither field nor baseline{hint}")
    for axis, values in (("noise", tune.noise), ("seed", [tune.seed])):
        for value in values:
            if str(value) not in map(str, getattr(params.grid, axis)):
                raise ConfigError(
                    f"{path}: tune.{axis}: the labels of {value!r} are made for grid.{axis} only, which is "
                    f"{getattr(params.grid, axis)}"
                )
    named = {method for entry in tune.space for method in entry.method}
    for method in sorted(named - {*params.field, *params.baseline}):
        near = difflib.get_close_matches(method, [*params.field, *params.baseline], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{path}: tune.space: {method!r} is in neither field nor baseline{hint}")
    for method in tune.method:
        space = tune.space_of(method)
        start = {key: one.start for key, one in space.items()}
        for settings in [start, *({**start, key: v} for key, one in space.items() for v in tune_settings.corners(one))]:
            trial_cell(params, method, tune.noise[0], settings, path)


def _check_theory(theory: theory_settings.Theory, path) -> None:
    """Each change must make a case of its own; one listed twice would be two equal rows."""
    cases = [theory.base]
    for i, change in enumerate(theory.changes):
        where = f"theory.changes.{i}"
        cases.append(check(theory_settings.TheoryCase, theory.base.model_dump() | change, where, path))
        if cases[-1] in cases[:-1]:
            raise ConfigError(f"{path}: {where}: expected a case of its own, found one that is there already: {change}")


def _resolve(params: schema.Params, path, method: str, **point) -> Cell:
    """The cell of `method` at `point` (dataset, noise, seed): the shared sections, then the method's own, then what
    the dataset's recipe says.
    """
    recipe = params.recipe[point["dataset"]]
    if method in params.field:
        row, group = params.field[method], "field"
        loss_name = row.potential
        kind = loss_settings.LOSS_SETTINGS[loss_name]
        shared = params.loss.model_dump()
        own = {key: value for key, value in recipe.loss.items() if key in kind.model_fields}
        loss = {key: value for key, value in shared.items() if key in kind.model_fields} | row.loss | own
    else:
        row, group = params.baseline[method], "baseline"
        loss_name, loss, kind = method, row.loss, loss_settings.LOSS_SETTINGS[method]
    loss = check(kind, loss, f"{group}.{method}.loss", path)
    train = check(schema.Train, params.train.model_dump() | row.train, f"{group}.{method}.train", path)
    train = check(schema.Train, train.model_dump() | recipe.train, f"recipe.{point['dataset']}.train", path)
    model = check(schema.Model, params.model.model_dump() | recipe.model, f"recipe.{point['dataset']}.model", path)
    name = point["dataset"]
    held_out = validation_classes(params, name)
    _check_classes(train, held_out, name, path)
    _check_images(train, params.dataset[name], name, path)
    return Cell(
        study=params.study, method=method, loss_name=loss_name, loss=loss.model_dump(), train=train.model_dump(),
        model=model.model_dump(), validation_classes=held_out, noise_kind=params.noise.settings(point["noise"]),
        data={} if name == "glyphs" else params.dataset[name].settings(), **point,
    )  # fmt: skip


def validation_classes(params: schema.Params, dataset: str) -> int:
    """How many training classes of a dataset are set aside: its own number, else that of `split`."""
    own = params.dataset[dataset].validation_classes
    return params.split.validation_classes if own is None else own


def _check_images(train: schema.Train, dataset: schema.Dataset, name: str, path) -> None:
    """What would else be found only once the images are fetched and packed."""
    side = schema.TRANSFORMS[train.transform]
    if (side is None) != (name == "glyphs"):
        fitting = [preset for preset, size in schema.TRANSFORMS.items() if (size is None) == (name == "glyphs")]
        has = f"{name} has images of {'one size' if name == 'glyphs' else 'many sizes'}"
        raise ConfigError(
            f"{path}: train.transform: {has}; expected {', '.join(fitting)}, found {train.transform} "
            f"(set recipe.{name}.train.transform)"
        )
    if side and dataset.pack == "fast" and dataset.short_side < side:
        raise ConfigError(
            f"{path}: dataset.{name}.short_side: expected at least the {side} pixels that train.transform "
            f"{train.transform} crops, found {dataset.short_side}"
        )


def _check_classes(train: schema.Train, validation_classes: int, dataset: str, path) -> None:
    """A run needs training classes for its batches, and validation classes where it holds them out."""
    classes = schema.DATASETS.get(dataset)
    if train.hold_out and not validation_classes:
        raise ConfigError(f"{path}: train.hold_out: true needs split.validation_classes > 0, found 0")
    if classes is None:
        return
    if validation_classes >= classes:
        found = f"expected fewer than the {classes} training classes of {dataset}, found {validation_classes}"
        raise ConfigError(f"{path}: split.validation_classes: {found}")
    left, needed = classes - train.hold_out * validation_classes, train.batch // train.images_per_class
    if train.sampler != "random" and needed > left:
        found = f"{train.batch} with {train.images_per_class} images_per_class needs {needed} classes"
        raise ConfigError(f"{path}: train.batch: {found}, {dataset} has {left} to train on")


def check_backbone(params: schema.Params) -> None:
    """Raises ConfigError for an unknown backbone. Not part of `load_params`, since timm takes seconds to import."""
    names = {cell.backbone for cell in grid_cells(params)} - {"conv4", "bn_inception"}
    if not names:
        return
    import timm

    for name in sorted(names):
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, ["conv4", "bn_inception", *timm.list_models()], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"params.yaml: model.backbone: {name!r} is neither conv4 nor bn_inception nor known to timm{hint}"
            )


def grid_cells(params: schema.Params, path="params.yaml") -> list[Cell]:
    """Every training run of the grid, in the order of its axes: dataset, method, noise, seed."""
    return [
        _resolve(params, path, method, dataset=dataset, noise=noise, seed=seed)
        for dataset in params.grid.dataset
        for method in params.grid.field + params.grid.baseline
        for noise in params.grid.noise
        for seed in params.grid.seed
    ]


def trial_cell(params: schema.Params, method: str, noise: float, settings: dict, path="params.yaml") -> Cell:
    """One training of a search: a method's cell on the first dataset with the validation classes held out, some
    settings moved, and nothing measured before its end.

    Raises:
        ConfigError: a setting that the method does not have or that has such no value.
    """
    tune = params.tune
    base = _resolve(params, path, method, dataset=params.grid.dataset[0], noise=noise, seed=tune.seed)
    moved = {"loss": dict(base.loss), "train": dict(base.train) | {"hold_out": True, "precision": tune.precision}}
    moved["train"]["select"] = "last"
    for key, value in settings.items():
        section, name = key.split(".")
        moved[section][name] = value
    moved["train"]["eval_every"] = moved["train"]["epochs"]
    kinds = {"loss": loss_settings.LOSS_SETTINGS[base.loss_name], "train": schema.Train}
    checked = {name: check(kind, moved[name], f"tune.space: {method}.{name}", path) for name, kind in kinds.items()}
    _check_classes(checked["train"], base.validation_classes, base.dataset, path)
    return replace(base, **{name: section.model_dump() for name, section in checked.items()})


def complexity_cells(params: schema.Params, path="params.yaml") -> list[Cell]:
    """The trainings whose seconds Table 9 compares: some baselines, and PFML with several numbers of proxies."""
    point = {"dataset": params.grid.dataset[0], "noise": params.grid.noise[0], "seed": params.grid.seed[0]}
    for name in params.complexity.baseline:
        if name not in params.baseline:
            near = difflib.get_close_matches(name, params.baseline, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{path}: complexity.baseline: unknown method {name!r}{hint}")
    cells = [_resolve(params, path, name, **point) for name in params.complexity.baseline]
    counts = params.complexity.proxies_per_class
    if counts and "pfml" not in params.field:
        raise ConfigError(f"{path}: complexity.proxies_per_class: its runs need field.pfml, which is not there")
    for count in counts:
        base = _resolve(params, path, "pfml", **point)
        loss = dict(base.loss) | {"proxies_per_class": count}
        cells.append(replace(base, loss=loss, axis="proxies_per_class", value=count))
    return cells


def ablation_default(params: schema.Params, axis: str) -> float:
    """The value that the grid's own pfml run has on an ablation axis."""
    loss = _resolve(params, "params.yaml", "pfml", dataset=params.grid.dataset[0], noise=0, seed=0).loss
    if axis == "delta_gap":
        return round((loss["delta_rep"] or loss["delta"]) - loss["delta"], 12)
    return loss[axis]


def ablation_base(params: schema.Params, axis: str) -> tuple[float, list[Cell]]:
    """The default value of an axis and the grid's cells that were run with it."""
    point = (params.grid.dataset[0], "pfml", params.ablation.noise)
    return ablation_default(params, axis), [c for c in grid_cells(params) if (c.dataset, c.method, c.noise) == point]


def ablation_cells(params: schema.Params, path="params.yaml") -> list[Cell]:
    """Every further run that an ablation axis asks for; the default value is the grid's own run and not repeated."""
    cells = []
    for axis in ABLATION_AXES:
        values = getattr(params.ablation, axis)
        if len(set(values)) < len(values):
            raise ConfigError(f"{path}: ablation.{axis}: expected each value once, found {values}")
        for value in values:
            for seed in params.grid.seed:
                cells.append(ablation_cell(params, axis, value, seed, path))
    return cells


def ablation_cell(params: schema.Params, axis: str, value: float, seed: int, path="params.yaml") -> Cell:
    """PFML as in the grid with one setting moved. `delta` moves both radii when delta_rep is null (as in Fig. 3b)."""
    base = _resolve(params, path, "pfml", dataset=params.grid.dataset[0], noise=params.ablation.noise, seed=seed)
    change = {"delta_rep": round(base.loss["delta"] + value, 12)} if axis == "delta_gap" else {axis: value}
    try:
        loss = check(loss_settings.FieldLoss, dict(base.loss) | change, "", path)
    except ConfigError as error:
        raise ConfigError(
            f"{path}: ablation.{axis}: {value!r} cannot be used ({str(error).split(': ', 1)[1]})"
        ) from None
    return replace(base, loss=loss.model_dump(), axis=axis, value=value)


def find_cell(cells: list[Cell], name: str) -> Cell:
    """The cell called `name`.

    Raises:
        ConfigError: no such cell; names the nearest one.
    """
    by_name = {cell.name: cell for cell in cells}
    if name not in by_name:
        near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.0)
        raise ConfigError(f"cell {name!r} is not in the grid of params.yaml; the nearest is {near[0]!r}")
    return by_name[name]


def run_stage(stage, data: bool = False) -> None:
    """Run a stage's main function; a bad configuration ends with one line on stderr and exit code 2.

    One thread a process unless the environment says otherwise, so that `dvc exp run` and `make repro` compute the same.

    Args:
        data: of a stage that meets the user's files and the network: what is wrong with them is told in words, with
            exit code 1. PFML_TRACEBACK=1 shows where it was found.
    """
    if data:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception: what is half made is removed
        warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    expected = (OSError, RuntimeError, ValueError) if data and not os.environ.get("PFML_TRACEBACK") else ()
    try:
        stage(load_params())
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except expected as error:
        print("error:", "\n".join([str(error), *getattr(error, "__notes__", ())]), file=sys.stderr)
        sys.exit(1)
