"""Download a file from one of several addresses: resume, retry, and check it before it gets its name.

A transfer writes to `<file>.part`. After an interruption the next call continues that file. A file is renamed to
`<file>` only if its checksum is right.
"""

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfml.datasets.transfer import DownloadError, Refused, Transfer, local

__all__ = ["DownloadError", "Source", "checksum_problem", "download", "find"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One address of a file. Several sources of one file are its mirrors.

    Attributes:
        url: http or https address; for a source that is fetched by hand, the page to visit.
        file: the file's name on disk.
        md5, sha256: hexadecimal digests of the whole file; either may be empty. With neither, only the length that the
            server announces is checked.
        bytes: rough size; a transfer beyond 1.5 times as much is stopped. None: unknown.
        note: a remark about this source, for the error message.
        by_hand: how a person gets the file, for addresses that refuse plain requests; these are never requested.
    """

    url: str
    file: str
    md5: str = ""
    sha256: str = ""
    bytes: int | None = None
    note: str = ""
    by_hand: str | None = None

    @property
    def checksum(self) -> str:
        """Such as "md5 97ee..."; empty if the source has none."""
        return ", ".join(f"{kind} {value}" for kind in ("md5", "sha256") if (value := getattr(self, kind)))


def download(
    sources: Sequence[Source],
    folder: Path,
    manual: Path | None = None,
    *,
    attempts: int = 5,
    timeout: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Path of the verified file: in `manual` if the user put it there, else in `folder`, from the first working source.

    Args:
        sources: of one file, in order of preference.
        folder: for downloads; made if needed.
        manual: a folder with files that the user fetched; a file there is used in place and never changed.
        attempts: how often in a row an address may fail without a byte of progress; pauses double from 1 s to 60 s.
        timeout: seconds without a byte after which a connection counts as dropped.
        sleep: called with the seconds to pause between attempts.

    Raises:
        DownloadError: no source gave the file; a file in `manual` is not the expected one; the disk is full or not
            writable; or another process is fetching the same file.
    """
    path = find(sources, folder, manual)
    if path is not None:
        return path
    problems = []
    for source in sources:
        note = f" ({source.note})" if source.note else ""
        if source.by_hand:
            problems.append(f"{source.url}: not fetched by program; {source.by_hand}{note}")
            continue
        try:
            return _fetch(source, Path(folder), attempts, timeout, sleep)
        except Refused as error:
            log.warning("%s: %s", source.url, error)
            problems.append(f"{source.url}: {error}{note}")
    raise DownloadError(_what_to_do(sources[0], problems, manual))


def find(sources: Sequence[Source], folder: Path, manual: Path | None = None) -> Path | None:
    """Path of the file if it is on disk and its checksum is right, else None. Uses no network.

    Raises:
        DownloadError: a file in `manual` has a wrong checksum.
    """
    for source in sources:
        if (path := Path(folder, source.file)).is_file():
            wrong = checksum_problem(path, source)
            if not wrong:
                return path
            log.warning("%s: %s; it is fetched again", path, wrong)
            path.unlink()
        if manual is not None and (path := Path(manual, source.file)).is_file():
            wrong = checksum_problem(path, source)
            if wrong:
                raise DownloadError(f"{path}: {wrong}. Fetch this file again or remove it; it was left as it is.")
            return path
    return None


def checksum_problem(path: Path, source: Source) -> str:
    """Empty if the file is the expected one, else "md5 found ..., expected ..."."""
    for kind in ("md5", "sha256"):
        expected = getattr(source, kind)
        if expected:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, kind).hexdigest()
            if digest != expected:
                return f"{kind} found {digest}, expected {expected} ({path.stat().st_size:,} bytes)"
    return ""


def _fetch(source: Source, folder: Path, attempts: int, timeout: float, sleep: Callable[[float], None]) -> Path:
    part, final = folder / f"{source.file}.part", folder / source.file
    with local(part):
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(part, "ab", buffering=0)  # noqa: SIM115
    with handle:
        _lock(handle, part)
        transfer = Transfer(source.url, handle, timeout, source.bytes, trusted=bool(source.checksum))
        try:
            transfer.complete(attempts, sleep)
            wrong = checksum_problem(part, source)
            if wrong and transfer.resumed:  # the beginning may belong to another file: start over once
                log.warning("%s: %s; starting over", source.url, wrong)
                transfer.start_over()
                transfer.complete(attempts, sleep)
                wrong = checksum_problem(part, source)
            if wrong:
                transfer.start_over()
                raise Refused(wrong)
            with local(final):
                os.fsync(handle.fileno())
                os.replace(part, final)
        finally:
            # Empty parts, and states without a part, serve no later transfer.
            if part.exists() and not part.stat().st_size:
                part.unlink()
            if not part.exists():
                transfer.state.unlink(missing_ok=True)
    return final


def _lock(handle, part: Path) -> None:
    """Lock the part, since two processes would mix their bytes. The system releases the lock when the process ends."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = part.exists() and os.path.samestat(os.fstat(handle.fileno()), part.stat())
    except BlockingIOError:
        mine = False
    if not mine:  # held by another process, or renamed by one that has just finished
        raise DownloadError(f"{part}: another process is fetching this file; try again when it has ended")


def _what_to_do(source: Source, problems: list[str], manual: Path | None) -> str:
    target = Path(manual if manual is not None else "data/manual", source.file)
    known = f" ({source.checksum})" if source.checksum else ""
    return "\n".join([
        f"{source.file} could not be fetched:",
        *(f"  {number}. {problem}" for number, problem in enumerate(problems, 1)),
        f"By hand: get the file{known} from one of these addresses, or from someone who has it, save it as "
        f"{target} and run the same command again.",
    ])  # fmt: skip
