"""The points of a sweep: every combination of the values of its axes, each a params.yaml of its own."""

import itertools
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import yaml

from pfml.settings import ConfigError
from pfml.settings.load import params_from
from pfml.settings.overlay import rewritten
from pfml.settings.runs import grid_runs
from pfml.settings.schema import Params
from pfml.settings.validation import Loader

MOST = 1000  # points of a sweep
STEPS = re.compile(r"(-?\d+)\.\.(-?\d+)")
OUTSIDE = re.compile(r",(?![^\[]*\])")  # a comma that is not in a list


@dataclass(frozen=True)
class Point:
    """Attributes: name: of its experiment, such as `alpha-4_delta_rep-0.6`; values: setting -> value; text: its
    params.yaml; params: the same, checked.
    """

    name: str
    values: Mapping[str, object]
    text: str
    params: Params


def axes_of(settings: Sequence[str]) -> dict[str, list]:
    """`["loss.alpha=1..6", "grid.noise=[0.2]"]` -> setting -> its values. `1..6` are whole numbers,
    both ends among them; a list in brackets is one value.

    Raises:
        ConfigError: not SETTING=VALUES, a setting named twice, or no value.
    """
    axes = {}
    for text in settings:
        key, sign, values = text.partition("=")
        if not sign or not re.fullmatch(r"\w+(\.\w+)+", key):
            raise ConfigError(f"-S {text}: expected SETTING=VALUES, such as loss.alpha=1..6 or loss.delta=0.1,0.2")
        if key in axes:
            raise ConfigError(f"-S {text}: {key} is there twice; expected all its values in one -S")
        if found := STEPS.fullmatch(values):
            low, high = map(int, found.groups())
            axes[key] = list(range(low, high + 1))
        else:
            axes[key] = [_value(one, text) for one in OUTSIDE.split(values)]
        if not axes[key]:
            raise ConfigError(f"-S {text}: expected the lower end first, found {values}")
        if len({str(value) for value in axes[key]}) < len(axes[key]):
            raise ConfigError(f"-S {text}: a value is there twice")
    return axes


def _value(text: str, setting: str):
    try:
        value = yaml.load(text, Loader)
    except yaml.YAMLError:
        value = None
    if value is None and text.strip() not in ("null", "~"):
        raise ConfigError(f"-S {setting}: expected values with commas between them, found {text!r}")
    return value


def points_of(text: str, axes: Mapping[str, list]) -> list[Point]:
    """The points, each with the methods that the sweep reaches alone: no ablation, folds, search or map.

    Args:
        text: of params.yaml.
        axes: of `axes_of`.

    Raises:
        ConfigError: too many points, a setting that params.yaml does not have, a value that it cannot have, or a
            sweep that reaches no run of the grid.
    """
    base = yaml.load(text, Loader)
    params_from(base, "params.yaml")
    base["ablation"]["points"] = base["mlrc"]["field"] = base["mlrc"]["baseline"] = []
    base["tune"]["method"] = base["map"]["draw"] = []
    combinations = [dict(zip(axes, values)) for values in itertools.product(*axes.values())]
    if len(combinations) > MOST:
        raise ConfigError(f"pfml sweep: expected at most {MOST} points, found {len(combinations)}")
    known = {run.name: run.digest for run in grid_runs(params_from(base, "params.yaml"))}
    found = []
    for values in combinations:
        settings = deepcopy(base)
        for key, value in values.items():
            _set(settings, key, value)
        found.append((values, settings, params_from(settings, f"params.yaml with {_said(values)}")))
    moved = {run.method for _, _, params in found for run in grid_runs(params) if known.get(run.name) != run.digest}
    if not moved:
        raise ConfigError(f"pfml sweep: no run of grid.field and grid.baseline reads {', '.join(axes)}")
    points = [_point(text, values, settings, moved) for values, settings, _ in found]
    if len({point.name for point in points}) < len(points):  # values that differ in signs that no file's name has
        points = [replace(point, name=f"{point.name}.{number}") for number, point in enumerate(points)]
    return points


def _set(settings: dict, key: str, value) -> None:
    """Set `loss.alpha`, `field.pfml_tuned.loss.alpha`; the section must be there."""
    *above, last = key.split(".")
    section = settings
    for name in above:
        section = section.get(name) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise ConfigError(f"-S {key}: params.yaml has no section {'.'.join(above)}")
    section[last] = value


def _point(text: str, values: Mapping, settings: dict, moved: set[str]) -> Point:
    grid = settings["grid"]
    for kind in ("field", "baseline"):
        grid[kind] = [method for method in grid[kind] if method in moved]
    name = "_".join(f"{key.rpartition('.')[2]}-{value}" for key, value in values.items())
    params = params_from(settings, f"params.yaml with {_said(values)}")
    return Point(re.sub(r"[^\w.-]+", "-", name).strip("-."), values, rewritten(text, settings), params)


def _said(values: Mapping) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())
