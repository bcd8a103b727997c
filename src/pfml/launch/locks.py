"""What a stop may leave behind in DVC's own two files: locks of dead processes, and a dvc.lock that is not whole.

DVC writes .dvc/tmp/rwlock (which process works on which file) and dvc.lock (what was run) in place. A process that is
killed while it writes leaves an empty file or half of one, and every later DVC process refuses it.
"""

import json
import subprocess
import time
from pathlib import Path

from pfml.settings.files import write_whole

LOCK = Path("dvc.lock")
RWLOCK = Path(".dvc/tmp/rwlock")  # which process works on which file
COPY = Path(".dvc/tmp/dvc.lock.copy")  # of the last time that `make repro` saw it whole


class Busy(RuntimeError):
    """Another pipeline holds this folder."""


def await_predecessors(patience: float = 15.0) -> None:
    """Wait for DVC processes of an earlier, killed pipeline to end, then drop the locks that they could not release.

    DVC clears a lock only once its process number is gone, and fails for one that is still dying or was given to
    another program.

    Raises:
        Busy: a DVC process works on in this folder.
    """
    started = time.monotonic()
    while True:
        found, waited = _holders(), time.monotonic() - started
        working = [pid for pid in found or () if _works(pid)]
        if not working and (found is not None or waited > 1):  # DVC writes the file within milliseconds
            break
        if working and waited > patience:
            raise Busy(
                f"another pipeline is at work in this folder (process {', '.join(map(str, working))}); stop it first"
            )
        time.sleep(0.2)
    if found is None or found:
        RWLOCK.unlink(missing_ok=True)


def at_work() -> list[int]:
    """Numbers of the DVC processes that work in this folder."""
    return [pid for pid in _holders() or () if _works(pid)]


def await_stage(stage: str, patience: float = 120.0) -> None:
    """Wait for the DVC process that works on a stage in this folder, as the one that a killed task has left behind.

    Raises:
        Busy: it works on.
    """
    started = time.monotonic()
    while working := [pid for pid, command in (_holders() or {}).items() if stage in command.split() and _works(pid)]:
        if time.monotonic() - started > patience:
            raise Busy(f"{stage}: process {working[0]} is at work on it")
        time.sleep(0.2)


def _holders() -> dict[int, str] | None:
    """Processes in DVC's file, number -> command; None while DVC writes it, or where a stop left it half written."""
    try:
        entries = json.loads(RWLOCK.read_text(encoding="utf-8"))
    except OSError:
        return {}
    except ValueError:
        return None
    infos = [*entries.get("write", {}).values(), *(i for found in entries.get("read", {}).values() for i in found)]
    return {info["pid"]: info.get("cmd", "") for info in infos}


def _works(pid: int) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and any("dvc" in arg for arg in process.cmdline())
    except psutil.Error:
        return False


def mend_lock() -> None:
    """Put the copy of dvc.lock back where a stop while DVC wrote the file left it empty or cut off.

    The copy lacks what finished after it was made: DVC takes that from its run cache or runs it again.

    Raises:
        Busy: another DVC process is at work, which may be writing the file.
    """
    if not LOCK.exists() or copy_lock():
        return
    from dvc.lock import LockError, make_lock

    COPY.parent.mkdir(parents=True, exist_ok=True)
    try:
        with make_lock(COPY.with_name("lock")):  # what every DVC process holds while it writes dvc.lock
            if not copy_lock():
                print(f"{LOCK} was damaged, as by a stop while DVC wrote it: {put_back()}", flush=True)
    except LockError as error:
        raise Busy(f"{LOCK} is not whole and another DVC process is at work in this folder; stop it first") from error


def put_back() -> str:
    """Replace a damaged dvc.lock by the copy, else by the committed one, else remove it; returns what was done."""
    committed = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True).stdout
    for text, source in ((COPY.read_bytes() if COPY.exists() else b"", COPY), (committed, "the last commit")):
        if whole(text):
            write_whole(LOCK, text)
            return f"put back from {source}; what finished later comes from DVC's cache or runs again"
    LOCK.unlink()
    return "removed, since there is no copy; what is finished comes from DVC's cache or runs again"


def copy_lock() -> bool:
    """Copy dvc.lock if it is whole, which the returned value tells. A file that DVC is just writing is not copied."""
    text = LOCK.read_bytes() if LOCK.exists() else b""
    if found := whole(text):
        write_whole(COPY, text)
    return found


def whole(text: bytes) -> bool:
    """Whether this is a dvc.lock that DVC accepts and that ends with a line end, as all that DVC writes."""
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils.serialize import parse_yaml
    from dvc.utils.strictyaml import validate

    try:
        validate(parse_yaml(text.decode(), LOCK), COMPILED_LOCKFILE_SCHEMA)
    except (UnicodeDecodeError, DvcException):
        return False
    return text.endswith(b"\n")
