"""Append the bytes of one HTTP address to a file that may already hold the beginning of them.

A Range request continues the beginning. The server's validator (a strong ETag, or the date) is stored beside the file
and sent as If-Range, so that a file that changed in the meantime comes whole. A server without support for Range is
read from zero.
"""

import json
import logging
import os
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

CHUNK = 1 << 20  # bytes
LONGEST_PAUSE = 60.0  # seconds between two attempts
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}  # HTTP status: worth another attempt at the same address

log = logging.getLogger(__name__)


class DownloadError(RuntimeError):
    """A file could not be fetched. The message lists the attempts and says what a person can do."""


class Refused(Exception):
    """This address will not give the file: try the next one."""


class _Interrupted(Exception):
    """The transfer stopped: another attempt may continue it."""


@contextmanager
def local(path: Path) -> Iterator[None]:
    """Turn errors of this disk into DownloadError: unlike errors of the network, no other mirror can help."""
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"{path}: cannot be written ({error.strerror}); the bytes that arrived are kept: make room, check the "
            "folder's permissions, and run the same command again"
        ) from error


class Transfer:
    """A download of one address to one file, from the file's present end on.

    Args:
        url: http or https; proxies are taken from the usual environment variables.
        handle: opened for appending, unbuffered.
        timeout: seconds without a byte after which a connection counts as dropped.
        expected: rough size in bytes; more than 1.5 times as much is refused. None: unknown.
        trusted: the caller will verify a checksum, so that a beginning from another address may be continued.
    """

    def __init__(self, url: str, handle, timeout: float, expected: int | None = None, trusted: bool = True):
        self.url, self.handle, self.timeout, self.expected, self.trusted = url, handle, timeout, expected, trusted
        self.path = Path(handle.name)
        self.state = self.path.with_name(self.path.name + ".json")
        self.resumed = False  # whether some of the file came from an earlier response

    @property
    def size(self) -> int:
        return self.handle.seek(0, os.SEEK_END)

    def start_over(self) -> None:
        self.handle.truncate(0)
        self.state.unlink(missing_ok=True)
        self.resumed = False

    def complete(self, attempts: int, sleep: Callable[[float], None]) -> None:
        """Download to the end. Raises Refused if the address refuses, or fails `attempts` times without progress."""
        best, failures = self.size, 0
        while True:
            try:
                return self._attempt()
            except (_Interrupted, HTTPException, OSError) as error:
                problem = str(getattr(error, "reason", error)) or type(error).__name__
                if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
                    raise Refused(problem) from None
            failures = 0 if self.size > best else failures + 1
            best = max(best, self.size)
            if failures >= attempts:
                raise Refused(f"{problem}; gave up after {attempts} attempts, {self.size:,} bytes are kept")
            pause = min(2.0 ** max(failures - 1, 0), LONGEST_PAUSE)
            log.info("%s: %s; again in %g s", self.url, problem, pause)
            sleep(pause)

    def _attempt(self) -> None:
        offset, validator = self.size, self._validator()
        if offset and not validator and not self.trusted:
            self.start_over()
            offset = 0
        headers = {"User-Agent": "pfml-data", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if validator:
                headers["If-Range"] = validator
        try:
            # A new opener reads the proxies from the environment now; the library's global one may be older.
            opener = urllib.request.build_opener()
            response = opener.open(urllib.request.Request(self.url, headers=headers), timeout=self.timeout)
        except urllib.error.HTTPError as error:
            with error:
                return self._status(error, offset)
        with response:
            offset = self._continue_at(response, offset, validator)
            length = response.headers.get("Content-Length")
            total = offset + int(length) if length and length.isdigit() else None
            self._check_size(total or 0)
            free = shutil.disk_usage(self.path.parent).free
            if total is not None and total - offset > free:
                raise DownloadError(f"{self.path}: {total - offset:,} bytes are still to come, {free:,} are free here")
            self._copy(response, offset, total)

    def _status(self, error: urllib.error.HTTPError, offset: int) -> None:
        """Raise for an HTTP error. Returns only if the beginning is already the whole file."""
        status = f"HTTP {error.code} {error.reason}"
        if error.code == 416:  # the server has no bytes beyond our beginning
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(offset):
                self.resumed = True
                return
            self.start_over()
            raise _Interrupted(status)
        raise _Interrupted(status) if error.code in TRANSIENT else Refused(status)

    def _continue_at(self, response, offset: int, known: str) -> int:
        """Offset of the response's first byte. Cuts the file back to it, and stores the validator of a new file."""
        if response.headers.get_content_type() == "text/html":
            raise Refused("a web page came back instead of the file (a login, a quota, or an error in disguise)")
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if response.status == 206:
            first = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
            if first != str(offset) or (known and validator and validator != known):
                self.start_over()
                raise _Interrupted("the file changed on the server since the transfer began")
            self.resumed = True
            return offset
        self.start_over()
        if not validator.startswith("W/"):  # a weak one does not promise equal bytes
            with local(self.state):
                self.state.write_text(json.dumps({"url": self.url, "validator": validator}), encoding="utf-8")
        return 0

    def _check_size(self, size: int) -> None:
        if self.expected and size > 1.5 * self.expected + CHUNK:
            self.start_over()
            raise Refused(f"{size:,} bytes or more, expected about {self.expected:,}: not this file")

    def _copy(self, response, offset: int, total: int | None) -> None:
        from tqdm import tqdm  # late: pfml.training.networks imports this module and does without it

        bar = tqdm(
            desc=self.path.name.removesuffix(".part"), total=total or self.expected, initial=offset, mininterval=0.5,
            unit="B", unit_scale=True, disable=None,
        )  # fmt: skip
        with bar:
            while chunk := response.read1(CHUNK):
                offset += len(chunk)
                self._check_size(offset)
                with local(self.path):
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[self.handle.write(rest) :]
                bar.update(len(chunk))
        if total is not None and offset < total:
            raise _Interrupted(f"the connection closed after {offset:,} of {total:,} bytes")

    def _validator(self) -> str:
        """The validator that this address sent with the bytes on disk; empty if they come from another address."""
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
            return state["validator"] if state["url"] == self.url else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""
