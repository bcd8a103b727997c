"""Damaged files in DVC's cache, found before DVC takes an output from there.

DVC trusts its cache: a flipped bit comes back as data, as a model that is measured or continued, without a word. The
name of an object is the MD5 of its content, so damage shows. Each object is read once; later its size and time decide.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pfml.settings.dvc_cache import cache_folder, md5
from pfml.settings.files import write_whole
from pfml.settings.run import project_root

CHECKED = Path(".dvc/tmp/checked_objects.json")  # name of an object -> its size and time when it was read


def mend_cache() -> None:
    """Remove damaged objects from the cache, and put those back that the working directory has whole; prints a line for
    each. DVC makes the others again.
    """
    memo = project_root() / CHECKED
    before = _read(memo)
    known, here = {}, None
    for path, digest in objects(cache_folder()):
        stat = path.stat()
        name, seen = path.parent.name + path.name, [stat.st_size, stat.st_mtime_ns]
        if before.get(name) == seen or md5(path) == digest:
            known[name] = seen
            continue
        path.unlink()
        here = workspace_files() if here is None else here
        source = next((own for own in here.get(digest, ()) if md5(own) == digest), None)
        if source is not None:
            put(source, path)
        done = f"put back from {source}" if source else "removed; what it belongs to is made again"
        print(f"{path}: damaged, its MD5 is not its name: {done}", flush=True)
    if known != before:
        write_whole(memo, json.dumps(known))


def objects(folder: Path) -> Iterator[tuple[Path, str]]:
    """(path, MD5 by its name) of each object; temporary files of DVC have other names."""
    for path in sorted(folder.glob("[0-9a-f][0-9a-f]/*")):
        if re.fullmatch(r"[0-9a-f]{30}(\.dir)?", path.name):
            yield path, path.parent.name + path.name.removesuffix(".dir")


def workspace_files() -> dict[str, list[Path]]:
    """MD5 -> the files with it, of all outputs in dvc.lock."""
    import yaml

    found: dict[str, list[Path]] = {}
    try:
        stages = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return found
    for stage in stages.values():
        for out in stage.get("outs", ()):
            place = Path(out["path"])
            for path in [place] if place.is_file() else sorted(place.rglob("*")):
                if path.is_file():
                    found.setdefault(md5(path), []).append(path)
    return found


def put(source: Path, target: Path) -> None:
    """Copy a file to its place in the cache, read-only as DVC leaves objects."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    shutil.copyfile(source, part)
    part.chmod(0o444)
    part.replace(target)


def _read(memo: Path) -> dict:
    try:
        found = json.loads(memo.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
