"""Files that people and programs read: in UTF-8 on every machine, and whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADVICE = "free some and run the same command again; what is finished is kept"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space on the disk, in the user's quota, or for a file this large


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file, in new folders where they lack; text in UTF-8 with the line ends that it has. A stop at any moment
    leaves the file as it was before.

    Raises:
        ValueError: text that UTF-8 does not have (half of a surrogate pair); names the file.
        OSError: of the system; names the file, and of a full disk what to do. The file is as it was.
    """
    path = Path(path)
    try:
        data = content if isinstance(content, bytes) else content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{path}: expected text, found a character that UTF-8 does not have ({error})") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno in FULL:
            raise OSError(error.errno, f"{path}: {error.strerror}: {ADVICE}") from None
        raise
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def on_disk(folder: str | Path) -> Iterator[None]:
    """A context that writes below `folder` by libraries: their error on a full disk, which has no name in it, names the
    folder.

    Raises:
        OSError: of the system.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in FULL or "requested and" in str(error)  # NumPy: `800 requested and 96 written`
        if full and error.filename is None and ADVICE not in str(error):
            raise OSError(errno.ENOSPC, f"{folder}: {os.strerror(errno.ENOSPC)}: {ADVICE}") from None
        raise
