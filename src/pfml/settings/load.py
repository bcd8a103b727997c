"""params.yaml as typed frozen objects, checked as a whole before anything runs."""

import difflib
from pathlib import Path

import yaml

from pfml.settings import FROM_SCRATCH, ConfigError, schema
from pfml.settings import losses as loss_settings
from pfml.settings import theory as theory_settings
from pfml.settings import tune as tune_settings
from pfml.settings.runs import ablation_runs, fold_runs, grid_runs, map_runs, timing_runs, trial_run
from pfml.settings.validation import Loader, check


def load_params(path: str | Path = "params.yaml") -> schema.Params:
    """Read and check a parameter file, including every section with which a method overrides the shared ones.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type or value out of range; names the key, what was found,
            what was expected and the nearest valid name.
    """
    try:
        raw = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); run from the project's root") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    params = params_from(raw, path)
    _check_tune(params, path)
    return params


def params_from(raw, path: str | Path) -> schema.Params:
    """As `load_params`, for data that were already read; errors name `path`. Searches are not checked: a preset may
    have another grid than the searches of the params.yaml under it.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected sections such as grid, train and loss, found {type(raw).__name__}")
    params = check(schema.Params, raw, "", path)
    _check_names(params, path)
    _check_recipes(params, path)
    _check_theory(params.theory, path)
    runs = grid_runs(params, path) + ablation_runs(params, path)
    for name in params.map.draw:
        runs += [run for _, run in map_runs(params, name, path)]
    for run in runs + timing_runs(params, path) + fold_runs(params, path):
        del run  # resolving a run checks its settings
    several = [noise for noise in params.grid.noise if noise]
    if params.noise.kind == "list" and len(several) > 1 and "{noise}" not in params.noise.list:
        raise ConfigError(
            f"{path}: noise.list: one file for the fractions {several} of grid.noise; expected {{noise}} in its name, "
            "or one fraction"
        )
    return params


def _check_names(params: schema.Params, path) -> None:
    """Raises ConfigError unless axes name existing sections, the folds are those of the split, and the ablation starts
    from a run of the grid.
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
    if not params.ablation.points:
        return
    base = (("noise", params.ablation.noise), ("field", "pfml"))
    for axis, value in base:
        # Compared as text: files are named after the spelling, in which 0 differs from 0.0.
        if str(value) not in map(str, getattr(params.grid, axis)):
            raise ConfigError(
                f"{path}: ablation: its base run needs {value!r} in grid.{axis}, found {getattr(params.grid, axis)}; "
                "add it, or empty ablation.points"
            )


def _check_recipes(params: schema.Params, path) -> None:
    """Raises ConfigError unless every dataset has a valid recipe and every recipe a dataset, in the grid or not."""
    for name, entry in params.dataset.items():
        if (name in schema.DATASETS) != (entry.kind == "catalogue"):
            allowed = "catalogue" if name in schema.DATASETS else "folder or csv"
            raise ConfigError(
                f"{path}: dataset.{name}.kind: expected {allowed}, found {entry.kind} "
                f"(the catalogue has {', '.join(schema.DATASETS)})"
            )
        unused = entry.model_fields_set - {"kind", "validation_classes"}
        if name == "glyphs" and unused:
            raise ConfigError(f"{path}: dataset.glyphs: is drawn, not packed; expected no {', '.join(sorted(unused))}")
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
    """Raises ConfigError unless searches name existing methods, noise and seeds of the grid, and valid settings."""
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
            trial_run(params, method, tune.noise[0], settings, path)


def _check_theory(theory: theory_settings.Theory, path) -> None:
    """Raises ConfigError for a change that gives the same case as another one, since it would repeat its rows."""
    cases = [theory.base]
    for i, change in enumerate(theory.changes):
        where = f"theory.changes.{i}"
        cases.append(check(theory_settings.TheoryCase, theory.base.model_dump() | change, where, path))
        if cases[-1] in cases[:-1]:
            raise ConfigError(f"{path}: {where}: expected a case of its own, found one that is there already: {change}")


def check_backbone(params: schema.Params) -> None:
    """Raises ConfigError for an unknown backbone. Not part of `load_params`, since timm takes seconds to import."""
    names = {run.model["backbone"] for run in grid_runs(params) + fold_runs(params)} - {*FROM_SCRATCH, "bn_inception"}
    if not names:
        return
    import timm

    for name in sorted(names):
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, [*FROM_SCRATCH, "bn_inception", *timm.list_models()], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"params.yaml: model.backbone: {name!r} is neither conv3, conv4, bn_inception nor known to timm{hint}"
            )
