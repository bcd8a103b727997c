"""A preset runs in a working copy of its own, .studies/<preset>/, so that params.yaml, dvc.lock and the results of
other studies stay as they are in the project.

The copy has its own Git and DVC folders, params.yaml, dvc.lock, data and models. DVC's cache is shared, as are
downloads, checkpoints and MLflow's store (pfml.settings.run.project_root). Everything else follows the project at each
start, also what is not committed there; only what the study's own stages write is the copy's.
"""

import filecmp
import fnmatch
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from pfml.launch import locks
from pfml.settings import ConfigError
from pfml.settings.files import write_whole
from pfml.settings.load import params_from
from pfml.settings.presets import FOLDER, PARAMS, committed_params, is_search, preset_names, read_preset, with_preset
from pfml.settings.run import COPIES, project_root
from pfml.settings.validation import Loader

# Where files that Git does not know yet count too. Elsewhere they may be anything, also a folder of your images.
UNCOMMITTED = ("src", "stages", "presets", "docs", "benchmarks", "reports")
COPIED = Path(".git/copied")  # in the copy: names of the files that came from the project


@contextmanager
def working_copy(name: str) -> Iterator[Path]:
    """The preset's working copy, brought up to date, as the working directory; yields the project's root.

    Raises:
        ConfigError: the preset, the committed params.yaml or the study's name cannot be used.
        Busy: the preset is being run by another process.
    """
    at_root(f"preset {name}")
    with copy_with(name, params_of(name), f"preset {name}: another `make repro PRESET={name}`") as project:
        print(f"preset {name} runs in {COPIES}/{name}/; {PARAMS} and other studies stay as they are", flush=True)
        if (project / PARAMS).read_text(encoding="utf-8") != committed_params():
            print(f"uncommitted changes of {PARAMS} do not count: a preset is laid over the committed one", flush=True)
        yield project


def at_root(who: str) -> None:
    """Raise ConfigError where the working directory is a working copy, and not the project's root."""
    if project_root() != Path.cwd():
        raise ConfigError(f"{who}: expected the project's root, found a preset's working copy; run from there")


@contextmanager
def copy_with(name: str, params: str, other: str) -> Iterator[Path]:
    """The working copy .studies/<name>/ with this text of params.yaml, brought up to date, as the working directory;
    yields the project's root.

    Raises:
        Busy: another process has it; `other` names that.
    """
    from filelock import FileLock, Timeout

    project, copy = Path.cwd(), Path.cwd() / COPIES / name
    copy.mkdir(parents=True, exist_ok=True)
    lock = FileLock(copy.with_name(f"{name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise locks.Busy(f"{other} is at work in {COPIES}/{name}") from None
    try:
        os.chdir(copy)
        locks.await_predecessors()
        update(project, copy, params)
        yield project
    finally:
        os.chdir(project)
        lock.release()


def params_of(name: str) -> str:
    """The params.yaml of a preset's working copy: the committed one with the preset laid over it.

    Raises:
        ConfigError: as `with_preset`; the committed params.yaml does not fit the code; or the study has no name of its
            own, or one whose table would replace another document.
    """
    committed = committed_params()
    default = yaml.load(committed, Loader)
    params_from(default, f"{PARAMS} (committed)")  # first, so that its error is not taken for one of the preset
    text = with_preset(committed, name)
    path, study = FOLDER / f"{name}.yaml", read_preset(name).get("study")
    if study is None:
        raise ConfigError(f"{path}: study: missing; expected a name of its own, under which its results are kept")
    others = [other for other in preset_names() if other != name and _study_of(other) == study and not is_search(other)]
    if others and not is_search(name) and study != default["study"]:
        raise ConfigError(
            f"{path}: study: expected a name of its own, found {study!r}, which {FOLDER}/{others[0]}.yaml has"
        )
    document = Path("reports", f"{study}.md")
    if document.exists() and not document.read_text(encoding="utf-8").startswith(heading(study)):
        raise ConfigError(f"{path}: study: {study!r} is taken: {document} is another document; expected another name")
    return text


def heading(study: str) -> str:
    """The first line of reports/<study>.md, which tells it from other documents."""
    return f"# Study {study}\n"


def _study_of(preset: str) -> str | None:
    try:
        return read_preset(preset).get("study")
    except ConfigError:  # a broken one beside it is no obstacle
        return None


def update(project: Path, copy: Path, params: str) -> None:
    """Make the working copy, or bring it up to date. Safe to stop and to start again at any moment."""
    follow_commit(project, copy)
    study = yaml.load(params, Loader)["study"]
    own = outputs((project / "dvc.yaml").read_text(encoding="utf-8"), study)
    names = [name for name in files_of(project) if name not in (str(PARAMS), str(locks.LOCK))]
    record = copy / COPIED
    before = set(record.read_text(encoding="utf-8").split("\0")) - {""} if record.exists() else set()
    _write(record, "\0".join(sorted(before | set(names))))
    for name in names:
        if not (is_own(name, own) and (copy / name).exists()):
            copy_file(project / name, copy / name)
    for name in before - set(names):
        if not is_own(name, own):
            (copy / name).unlink(missing_ok=True)
    _write(record, "\0".join(names))
    if not (copy / locks.LOCK).exists() and (known := _known_lock(project)):
        _write(copy / locks.LOCK, known)
    _write(copy / PARAMS, params)
    share_cache(project, copy)


def follow_commit(project: Path, copy: Path) -> None:
    """Give the copy a Git folder with the project's last commit alone; its files stay as they are.

    Raises:
        ConfigError: Git cannot; says what it said.
    """
    for lock in ("index.lock", "shallow.lock"):  # of a Git that was killed; nothing else is at work here
        (copy / ".git" / lock).unlink(missing_ok=True)
    for command in (
        ("init", "-q"), ("fetch", "-q", "--depth=1", "--no-tags", str(project), "HEAD"), ("reset", "-q", "FETCH_HEAD"),
    ):  # fmt: skip
        done = git(copy, *command)
        if done.returncode:
            reason = " ".join(done.stderr.split())
            raise ConfigError(
                f"{COPIES}/{copy.name}: git {command[0]} failed ({reason}); remove the folder to make it anew"
            )


def git(folder: Path, *command: str) -> subprocess.CompletedProcess:
    """Git in a folder, whatever repository the environment names."""
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
    return subprocess.run(
        ["git", *command], cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8"
    )


def files_of(project: Path) -> list[str]:
    """The project's files that a working copy has: those of Git, and in UNCOMMITTED those that it does not ignore."""
    listed = git(project, "ls-files", "-z").stdout
    listed += git(project, "ls-files", "-z", "--others", "--exclude-standard", "--", *UNCOMMITTED).stdout
    names = dict.fromkeys(filter(None, listed.split("\0")))
    return [name for name in names if (project / name).is_symlink() or (project / name).is_file()]


def outputs(pipeline: str, study: str) -> list[str]:
    """Patterns of what the stages of a dvc.yaml write for a study, and of its timings and origins."""
    stages = [stage.get("do", stage) for stage in yaml.load(pipeline, Loader)["stages"].values()]
    entries = [one for stage in stages for kind in ("outs", "plots", "metrics") for one in stage.get(kind, ())]
    paths = [path for one in entries for path in (one if isinstance(one, dict) else [one])]
    return [_pattern(path, study) for path in dict.fromkeys(paths)] + [
        f"reports/{folder}/{study}.csv" for folder in ("complexity", "provenance")
    ]


def _pattern(path: str, study: str) -> str:
    """reports/runs/${study}/${item.dataset}.json -> reports/runs/mine/*.json."""
    before, *parts = path.replace("${study}", study).split("${")
    return before + "".join("*" + part.partition("}")[2] for part in parts)


def is_own(name: str, patterns: list[str]) -> bool:
    """Whether a file is one that the study writes, or lies in a folder that it writes."""
    return any(fnmatch.fnmatchcase(name, one) or name.startswith(f"{one}/") for one in patterns)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file whole or not at all; one that is there already is not touched."""
    if target.is_file() and not source.is_symlink() and filecmp.cmp(source, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    shutil.copy2(source, part, follow_symlinks=False)
    part.replace(target)


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all; one that is there already is not touched."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    write_whole(path, text)


def _known_lock(project: Path) -> str:
    """What DVC has noted in the project, so that the copy makes no data anew; the last that is whole, or ""."""
    for place in (project / locks.LOCK, project / locks.COPY):
        text = place.read_bytes() if place.exists() else b""
        if locks.whole(text):
            return text.decode()
    return git(project, "show", f"HEAD:./{locks.LOCK}").stdout


def share_cache(project: Path, copy: Path) -> None:
    """Give the copy the project's DVC settings, also those of this machine alone, and its cache."""
    from dvc.config import Config, merge
    from dvc.repo import Repo

    theirs = Config(str(project / ".dvc"))
    with Repo(str(project)) as repo:
        cache = repo.cache.local_cache_dir
    with Config(str(copy / ".dvc")).edit("local") as settings:
        settings.clear()
        for level in ("repo", "local"):  # loaded with whole paths
            merge(settings, theirs.load_one(level))
        settings["cache"]["dir"] = cache
