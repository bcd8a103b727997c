"""`make default`: params.yaml and dvc.lock as they are committed, after experiments of DVC or anything else.

Nothing that cannot be had again is thrown away. What may go: a params.yaml that some commit or experiment of DVC has; a
preset laid over the committed one; and one that DVC has written (`dvc exp run -S`, stopped before it had saved its
experiment), where only values differ, which are printed as the command that sets them. Everything else is refused.
"""

import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import yaml

from pfml.launch.locks import LOCK, await_predecessors
from pfml.settings import ConfigError
from pfml.settings.files import write_whole
from pfml.settings.load import params_from
from pfml.settings.overlay import differing_lines, merge, overrides
from pfml.settings.presets import FOLDER, PARAMS, committed_params, preset_names, read_preset, with_preset
from pfml.settings.validation import Loader

# Commits that DVC makes and drops while an experiment runs or waits; one that is finished has a name of its own.
PASSING = ("refs/exps/exec/*", "refs/exps/stash", "refs/exps/celery/*")

THROW_AWAY = f"throw it away with `git checkout HEAD {PARAMS}`"


def restore_default(save: str | None = None) -> str:
    """Restore params.yaml and dvc.lock, in Git's index too; returns what was done, in words.

    Args:
        save: name of a preset that is written first, with what differs in params.yaml.

    Raises:
        ConfigError: params.yaml has what would be lost, names it and says what to do; or it is not committed.
        Busy: a pipeline is at work in this folder.
    """
    await_predecessors(patience=1)
    committed, present = committed_params(), PARAMS.read_text(encoding="utf-8")
    if present == committed:
        done = f"{PARAMS}: as it is committed"
    elif save:
        done = save_preset(save, present, committed)
    else:
        done = kept_elsewhere(present, committed)
    there = git("ls-tree", "--name-only", "HEAD", "--", str(PARAMS), str(LOCK)).split()
    git("checkout", "-q", "HEAD", "--", *there)
    return f"{done}; {' and '.join(there)} restored; `make repro` brings tables and figures back"


def kept_elsewhere(present: str, committed: str) -> str:
    """Where the present params.yaml can be had from again; ConfigError if from nowhere."""
    if name := commit_with(PARAMS):
        return f"{PARAMS}: {name} has what it was"
    try:
        settings = yaml.load(present, Loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{PARAMS}: not valid YAML, and in no commit: {reason}; {THROW_AWAY}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{PARAMS}: expected sections, found {type(settings).__name__}, in no commit; {THROW_AWAY}")
    bases = {None: committed} | _presets_of(settings.get("study"), committed)
    for name, base in bases.items():
        if present == base:
            return f"{PARAMS}: preset {name} was laid over it (`make repro PRESET={name}` runs it)"
    for name, base in bases.items():
        changes = overrides(yaml.load(base, Loader), settings)
        new = [one for one in changes if one.startswith(("+", "~"))]
        if written_by_dvc(present) and not new and comments(present) <= comments(base):
            on = f" on preset {name}" if name else ""
            return f"{PARAMS}: of an experiment{on} that did not end; to have it again: {experiment(changes)}"
    changes = overrides(yaml.load(committed, Loader), settings)
    raise ConfigError(
        f"{PARAMS}: {_first(changes)} would be lost: no commit, preset or experiment has it. Keep it as a preset with "
        f"`pfml default --save mine` (writes {FOLDER}/mine.yaml, which `make repro PRESET=mine` runs), commit it, or "
        f"{THROW_AWAY}"
    )


def _first(changes: list[str], shown: int = 5) -> str:
    """The first changes in words; comments where no setting differs."""
    keys = [one.lstrip("+") for one in changes[:shown]]
    return ", ".join(keys) + (f" and {len(changes) - shown} more" if len(changes) > shown else "") or "a comment"


def experiment(changes: list[str]) -> str:
    """The `dvc exp run` that sets some values again."""
    return " ".join(["dvc exp run", *(f"-S {shlex.quote(one)}" for one in changes)])


def commit_with(path: Path) -> str | None:
    """In words, an experiment of DVC or a commit that has the present content of a file; None if none has."""
    content = git("hash-object", str(path)).strip()
    passing = [f"--exclude={ref}" for ref in PASSING]
    found = git("log", "-1", "-m", "--format=%H", f"--find-object={content}", *passing, "--all").strip()
    if not found:
        return None
    names = git("for-each-ref", f"--points-at={found}", "--format=%(refname)", "refs/exps").split()
    return f"experiment {names[0].rpartition('/')[2]}" if names else f"commit {found[:10]}"


def _presets_of(study: str | None, committed: str) -> dict[str, str]:
    """preset -> the committed params.yaml with it, of the presets of a study."""
    found = {}
    for name in preset_names() if FOLDER.is_dir() else ():
        try:
            if read_preset(name).get("study") == study:
                found[name] = with_preset(committed, name)
        except ConfigError:  # a broken preset was never laid over anything
            continue
    return found


def written_by_dvc(text: str) -> bool:
    """Whether DVC wrote this YAML: it drops comments and spells values in its own way."""
    from dvc.utils.hydra import apply_overrides

    study = yaml.load(text, Loader)["study"]
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder, PARAMS)
        again.write_text(text, encoding="utf-8")
        apply_overrides(again, [f"study={study}"])
        return again.read_text(encoding="utf-8") == text


def comments(text: str) -> set[str]:
    return {found.strip() for found in re.findall(r"(?:^|\s)#.*$", text, re.M)}


def save_preset(name: str, present: str, committed: str) -> str:
    """Write presets/<name>.yaml with what differs from the committed params.yaml; returns a line that says so.

    Raises:
        ConfigError: there is such a preset; params.yaml is wrong; or a preset cannot say what differs, since settings
            were removed.
    """
    path = FOLDER / f"{name}.yaml"
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or path.exists():
        raise ConfigError(f"{path}: expected a new name of letters, digits, _, . and -; found one that cannot be used")
    base, settings = yaml.load(committed, Loader), yaml.load(present, Loader)
    params_from(settings, PARAMS)
    text = differing_lines(present, base)
    if merge(base, yaml.load(text, Loader) or {}) != settings:
        gone = [one for one in overrides(base, settings) if one.startswith("~")]
        raise ConfigError(
            f"{PARAMS}: {_first(gone)}: a preset cannot remove settings; put them back first, or {THROW_AWAY}"
        )
    study = "" if settings["study"] != base["study"] else f"study: {name}\n\n"
    write_whole(path, f"# What params.yaml had beside the committed settings\n\n{study}{text}")
    return f"{path}: what {PARAMS} had; `make repro PRESET={name}` runs it"


def git(*command: str) -> str:
    """What Git prints; ConfigError with its reason if it fails."""
    try:
        done = subprocess.run(["git", *command], capture_output=True, text=True, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"git {command[0]}: {error.strerror}; `make default` needs Git") from None
    if done.returncode:
        raise ConfigError(f"git {command[0]}: {' '.join(done.stderr.split())}")
    return done.stdout
