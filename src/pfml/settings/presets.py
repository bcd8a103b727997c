"""Presets: the paper's own studies, and yours, as small YAML files that override params.yaml (`make repro
PRESET=<name>`, `make presets`). pfml.launch.copies runs them.

A preset with the key `over: <name>` overrides that preset in turn, and contains only the differences. `pfml presets
<name>` prints the equivalent `dvc exp run` with every setting on its command line.
"""

import difflib
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from pfml.settings import ConfigError
from pfml.settings.load import params_from
from pfml.settings.overlay import merge, overrides, rewritten
from pfml.settings.schema import Params
from pfml.settings.validation import Loader

FOLDER, PARAMS = Path("presets"), Path("params.yaml")
WITHOUT_GIT = "The report is whole; `make default`, `make verify` and PRESET=<name> need the commit, all trainings Git"


def preset_names() -> list[str]:
    """Names of all presets. ConfigError if there are none, as outside the project's root."""
    names = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    if not names:
        raise ConfigError(f"{FOLDER}/: expected preset files (*.yaml), found none; run from the project's root")
    return names


def preset_title(name: str) -> str:
    """The first comment line of a preset, which says what it reproduces."""
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


def read_preset(name: str, above: tuple[str, ...] = ()) -> dict:
    """The settings of a preset, merged with those of the preset under it, unchecked.

    Args:
        above: the presets over this one.

    Raises:
        ConfigError: no such preset (names the nearest one and lists all), no YAML mapping, or a cycle of presets.
    """
    names = preset_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"preset {name!r}: there is no {FOLDER}/{name}.yaml{hint} (there are {', '.join(names)})")
    path = FOLDER / f"{name}.yaml"
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected sections of params.yaml, found {type(settings).__name__}")
    if "over" not in settings:
        return settings
    below = settings.pop("over")
    if below in (*above, name):
        raise ConfigError(f"{path}: over: {below} is laid over {name} itself")
    try:
        return merge(read_preset(str(below), (*above, name)), settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: over: {error}") from None


def is_search(name: str) -> bool:
    """Whether a preset searches settings for the study of another one (`tune.method`, and a study's name that another
    preset has). It brings back its searches alone; the results of that name are the other preset's.
    """

    def settings(preset: str) -> dict:
        try:
            return read_preset(preset)
        except ConfigError:  # a broken one beside it is no obstacle
            return {}

    def searches(preset: dict) -> bool:
        return bool((preset.get("tune") or {}).get("method"))

    own = read_preset(name)
    others = (settings(other) for other in preset_names() if other != name)
    return searches(own) and any(one.get("study") == own.get("study") and not searches(one) for one in others)


def with_preset(text: str, name: str) -> str:
    """The text of params.yaml with the settings of a preset. Writes no file.

    Raises:
        ConfigError: as `read_preset`; or the preset has a setting that params.yaml cannot have; names the key.
    """
    settings = merge(yaml.load(text, Loader), read_preset(name))
    params_from(settings, FOLDER / f"{name}.yaml")
    try:
        return rewritten(text, settings)
    except ValueError as error:
        raise ConfigError(f"{PARAMS}: {error}; a preset is laid over it line by line") from None


def preset_params(name: str) -> Params:
    """The committed settings with those of a preset, checked. ConfigError as `read_preset`."""
    return params_from(merge(yaml.load(committed_params(), Loader), read_preset(name)), FOLDER / f"{name}.yaml")


def committed_params() -> str:
    """The text of the committed params.yaml. ConfigError if Git has none."""
    try:
        shown = subprocess.run(["git", "show", f"HEAD:./{PARAMS}"], capture_output=True, text=True, encoding="utf-8")
        reason = shown.stderr.strip().split("\n")[0]
    except OSError as error:
        shown, reason = None, error.strerror
    if not shown or shown.returncode:
        raise ConfigError(
            f"{PARAMS}: expected it to be committed, to be laid under presets and to go back to; Git says: {reason}"
        )
    return shown.stdout


def every_params(params: Params, tell: Callable[[str], None] = print) -> Iterator[Params]:
    """The settings of every study: `params` as it stands, the committed default, the presets laid over that. The first
    of a study's name wins.

    A preset is laid over the *committed* params.yaml, so an experiment (`dvc exp run -S loss.alpha=4`) changes
    the study being run and no other. Outside Git, or where the committed file no longer fits the
    code, the file on disk takes its place. A preset that does not fit, since params.yaml may be your own, is left out.
    `tell` is given a line that says so in both cases.

    Raises:
        ConfigError: a preset without a study's name, or two of one.
    """
    settings, default = _defaults(tell)
    seen = {params.study, default.study}
    yield params
    if default.study != params.study:
        yield default
    from_presets: dict[str, str] = {}
    for name in preset_names() if FOLDER.is_dir() else ():
        path = FOLDER / f"{name}.yaml"
        try:
            changes = read_preset(name)
            preset = params_from(merge(settings, changes), path)
        except ConfigError as error:
            tell(f"left out of the report: {error}")
            continue
        if "study" not in changes:
            raise ConfigError(f"{path}: study: missing; expected a name of its own, under which its results are kept")
        if is_search(name):
            continue
        if preset.study in from_presets:
            other = FOLDER / f"{from_presets[preset.study]}.yaml"
            raise ConfigError(f"{path}: study: expected a name of its own, found {preset.study!r}, which {other} has")
        from_presets[preset.study] = name
        if preset.study not in seen:
            yield preset


def _defaults(tell: Callable[[str], None]) -> tuple[dict, Params]:
    """The committed params.yaml, as data and checked; the one on disk where that cannot be used."""
    try:
        settings = yaml.load(committed_params(), Loader)
        return settings, params_from(settings, f"{PARAMS} (committed)")
    except (ConfigError, yaml.YAMLError) as error:
        tell(f"presets are laid over {PARAMS} as it stands: {error}. {WITHOUT_GIT}")
    settings = yaml.load(PARAMS.read_text(encoding="utf-8"), Loader)
    return settings, params_from(settings, PARAMS)


def command_line(name: str) -> str:
    """The `dvc exp run` command that runs a preset on the present params.yaml."""
    base = yaml.load(PARAMS.read_text(encoding="utf-8"), Loader)
    changes = overrides(base, yaml.load(with_preset(PARAMS.read_text(encoding="utf-8"), name), Loader))
    return " \\\n  ".join(["dvc exp run", *(f"-S {shlex.quote(one)}" for one in changes)])


def listing() -> str:
    """A line for each preset: its name and its title."""
    width = max(map(len, preset_names()))
    return "\n".join(f"{name.ljust(width)}  {preset_title(name)}" for name in preset_names())
