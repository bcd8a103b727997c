"""params.yaml as typed frozen objects, and the grid of training runs (cells) that it describes."""

import difflib
import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import yaml

from pfml import loss_settings, schema, theory_settings
from pfml.cell import Cell
from pfml.cell_checks import check_classes, check_images, held_out_classes
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
    return params_from(raw, path)


def params_from(raw, path: str | Path) -> schema.Params:
    """As `load_params`, of data already read; errors name `path`."""
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected sections such as grid, train and loss, found {type(raw).__name__}")
    params = check(schema.Params, raw, "", path)
    _check_names(params, path)
    _check_recipes(params, path)
    _check_theory(params.theory, path)
    for cell in grid_cells(params, path) + ablation_cells(params, path) + mlrc_cells(params, path):
        del cell  # resolving a cell checks its settings
    several = [noise for noise in params.grid.noise if noise]
    if params.noise.kind == "list" and len(several) > 1 and "{noise}" not in params.noise.list:
        raise ConfigError(
            f"{path}: noise.list: one file for the fractions {several} of grid.noise; expected {{noise}} in its name, "
            "or one fraction"
        )
    return params


def _check_names(params: schema.Params, path) -> None:
    """Axes must name sections that exist, the folds be those of the split, and the ablation start from a run of the
    grid.
    """
    axes = [("grid", axis) for axis in ("dataset", "field", "baseline")] + [("mlrc", "field"), ("mlrc", "baseline")]
    for section, axis in axes:
        sections, names = getattr(params, axis), getattr(getattr(params, section), axis)
        what = "dataset" if axis == "dataset" else "method"
        for name in names:
            if name not in sections:
                near = difflib.get_close_matches(name, sections, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                valid = ", ".join(sections)
                raise ConfigError(f"{path}: {section}.{axis}: unknown {what} {name!r}{hint} (valid: {valid})")
        if len(set(names)) < len(names):
            raise ConfigError(f"{path}: {section}.{axis}: expected each method once, found {names}")
    if not params.grid.field + params.grid.baseline + params.mlrc.methods:
        raise ConfigError(
            f"{path}: grid.field, grid.baseline: expected at least one method there or under mlrc, found empty lists"
        )
    folds = params.split.folds
    if params.mlrc.methods and not folds:
        raise ConfigError(f"{path}: split.folds: expected at least 2 with mlrc (the protocol has 4), found 0")
    if params.mlrc.methods and params.mlrc.fold != list(range(folds)):
        expected = f"expected {list(range(folds))}, since split.folds is {folds}"
        raise ConfigError(f"{path}: mlrc.fold: {expected}; found {params.mlrc.fold}")
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


def _check_theory(theory: theory_settings.Theory, path) -> None:
    """Each change must make a case of its own; one listed twice would be two equal rows."""
    cases = [theory.base]
    for i, change in enumerate(theory.changes):
        where = f"theory.changes.{i}"
        cases.append(check(theory_settings.TheoryCase, theory.base.model_dump() | change, where, path))
        if cases[-1] in cases[:-1]:
            raise ConfigError(f"{path}: {where}: expected a case of its own, found one that is there already: {change}")


def _resolve(params: schema.Params, path, method: str, **point) -> Cell:
    """The cell of `method` at `point` (dataset, noise, seed, and fold with folds for mlrc): the shared sections, then
    the method's own, then what the dataset's recipe says.
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
    fixed = validation_classes(params, name)
    check_classes(train, held_out_classes(train, fixed, name, point.get("folds", 0), path), name, path)
    check_images(train, params.dataset[name], name, path)
    return Cell(
        study=params.study, method=method, loss_name=loss_name, loss=loss.model_dump(), train=train.model_dump(),
        model=model.model_dump(), validation_classes=fixed, noise_kind=params.noise.settings(point["noise"]),
        data={} if name == "glyphs" else params.dataset[name].settings(), **point,
    )  # fmt: skip


def validation_classes(params: schema.Params, dataset: str) -> int:
    """How many training classes of a dataset are set aside: its own number, else that of `split`."""
    own = params.dataset[dataset].validation_classes
    return params.split.validation_classes if own is None else own


def check_backbone(params: schema.Params) -> None:
    """Raises ConfigError for an unknown backbone. Not part of `load_params`, since timm takes seconds to import."""
    names = {cell.backbone for cell in grid_cells(params) + mlrc_cells(params)} - {"conv4", "bn_inception"}
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


def mlrc_cells(params: schema.Params, path="params.yaml") -> list[Cell]:
    """Every training run of `mlrc`: dataset, method, seed, fold. Labels are clean."""
    return [
        _resolve(params, path, method, dataset=dataset, noise=0.0, seed=seed, fold=fold, folds=params.split.folds)
        for dataset in params.grid.dataset
        for method in params.mlrc.methods
        for seed in params.grid.seed
        for fold in params.mlrc.fold
    ]


def by_repeat(cells: list[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """Cells of `mlrc_cells` by study and cross validation, folds in order."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.study, cell.repeat), []).append(cell)
    return groups


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
