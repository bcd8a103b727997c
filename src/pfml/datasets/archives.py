"""Read members of a zip or tar archive as bytes, without unpacking a hundred thousand files.

Members are never written to paths that the archive names, so no name can escape from a folder. Archives with odd names,
links, or sizes beyond those of the dataset are refused. A .tgz has no random access: it is inflated once to a .tar in
a work folder.
"""

import gzip
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MAX_RATIO = 100  # inflated bytes per stored byte; photographs have about 1, lists of attributes 20, a bomb 1000
SMALL = 1 << 20  # bytes below which a ratio says nothing
LOCAL_HEADER = struct.Struct("<4s22xHH")  # zip: signature, ..., length of the name, length of the extra field


@dataclass(frozen=True)
class Member:
    """Place of a file in its archive: `stored` bytes at `offset`, which become `size` bytes.

    In a zip, `offset` is that of the file's local header.
    """

    offset: int
    stored: int
    size: int
    method: int | None = None  # zip's number for stored or deflated; None in a tar, which does not compress members
    crc: int = 0


@dataclass(frozen=True)
class Archive:
    """An indexed archive. Holds no open file: it can be pickled, forked and used from threads.

    Attributes:
        path: the zip or tar.
        members: name with forward slashes -> place in the archive; directories are left out.
    """

    path: Path
    members: dict[str, Member]

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def read(self, name: str) -> bytes:
        """The bytes of one member.

        Raises:
            ValueError: the member is absent or damaged; names archive and member.
            OSError: the archive cannot be read.
        """
        if name not in self.members:
            raise ValueError(f"{self.path}: has no member {name}")
        member = self.members[name]
        with open(self.path, "rb") as file:
            file.seek(member.offset)
            if member.method is not None:
                header = file.read(LOCAL_HEADER.size)
                if len(header) < LOCAL_HEADER.size or header[:4] != b"PK\3\4":
                    raise ValueError(f"{self.path}: {name}: no file at the place that the list of contents names")
                file.seek(sum(LOCAL_HEADER.unpack(header)[1:]), os.SEEK_CUR)
            data = file.read(member.stored)
        if member.method == zipfile.ZIP_DEFLATED:
            try:  # at most one byte more than declared, so that a false header cannot make it inflate gigabytes
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
            except zlib.error as error:
                raise ValueError(f"{self.path}: {name}: damaged ({error})") from None
        if len(data) != member.size:
            more = "more" if len(data) > member.size else f"{len(data):,}"
            raise ValueError(f"{self.path}: {name}: declares {member.size:,} bytes, has {more}")
        if member.method is not None and zlib.crc32(data) != member.crc:
            raise ValueError(f"{self.path}: {name}: damaged (its CRC does not match)")
        return data


def open_archive(path: Path, work: Path, *, max_files: int, max_bytes: int, max_ratio: float = MAX_RATIO) -> Archive:
    """The index of a .zip, .tar, .tar.gz or .tgz.

    Args:
        path: the archive; its checksum should have been verified.
        work: folder for the .tar of a .tgz, made if needed. The .tar stays and is reused while the .tgz is unchanged.
        max_files: largest number of members.
        max_bytes: largest inflated size of all members together; checked as declared and as read.
        max_ratio: largest ratio of inflated to stored bytes, for anything above 1 MiB.

    Raises:
        ValueError: names the archive and the refused member: a name that is absolute or has .., a link or device, a
            duplicate, encryption, too many files, too large, or a damaged archive.
        OSError: unreadable, or no room for the .tar.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(".zip"):
        members, where = _zip_members(path, max_ratio), path
    elif name.endswith((".tgz", ".tar.gz")):
        where = _inflate(path, Path(work), max_bytes, max_ratio)
        members = _tar_members(where)
    elif name.endswith(".tar"):
        members, where = _tar_members(path), path
    else:
        raise ValueError(f"{path}: expected a .zip, .tar, .tar.gz or .tgz")
    try:
        return Archive(where, _checked(members, path, max_files, max_bytes))
    except ValueError:
        if where != path:
            where.unlink()
        raise


def _checked(listed: Iterable[tuple[str, Member]], path: Path, max_files: int, max_bytes: int) -> dict[str, Member]:
    members: dict[str, Member] = {}
    total = 0
    for raw, member in listed:
        clean = safe_name(raw, path)
        if clean in members:
            raise ValueError(f"{path}: {clean}: in the archive twice")
        members[clean] = member
        total += member.size
        if len(members) > max_files:
            raise ValueError(f"{path}: {clean}: more than {max_files:,} files; not the expected archive")
        if total > max_bytes:
            raise ValueError(f"{path}: {clean}: contents of more than {max_bytes:,} bytes; not the expected archive")
    return members


def safe_name(raw: str, path: Path) -> str:
    """The member's name without "./"; ValueError if it could point out of a folder."""
    parts = PurePosixPath(raw).parts
    if not parts or raw.startswith("/") or ".." in parts or "\\" in raw or "\0" in raw or ":" in parts[0]:
        raise ValueError(f"{path}: {raw!r}: a name that points out of the archive; not the expected archive")
    return "/".join(parts)


def _zip_members(path: Path, max_ratio: float) -> Iterable[tuple[str, Member]]:
    try:
        with zipfile.ZipFile(path) as file:
            contents = file.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise ValueError(f"{path}: not a readable zip archive ({error})") from None
    for info in contents:
        name = info.orig_filename
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir() and not info.file_size:
            continue
        if kind not in (0, stat.S_IFREG):
            raise ValueError(f"{path}: {name}: a link or device, expected only files")
        if info.flag_bits & 1:
            raise ValueError(f"{path}: {name}: encrypted; unpack it with its password and pack it again without one")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{path}: {name}: compressed in an unknown way")
        if info.file_size > max(SMALL, max_ratio * info.compress_size):
            raise ValueError(f"{path}: {name}: {info.file_size:,} bytes out of {info.compress_size:,}; a zip bomb?")
        yield name, Member(info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC)


def _tar_members(path: Path) -> Iterable[tuple[str, Member]]:
    length = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as file:
            for info in file:
                if info.isdir():
                    continue
                if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.sparse is not None:
                    raise ValueError(f"{path}: {info.name}: a link or device, expected only files")
                if info.offset_data + info.size > length:
                    raise ValueError(f"{path}: {info.name}: declares {info.size:,} bytes, more than the archive has")
                yield info.name, Member(info.offset_data, info.size, info.size)
    except tarfile.TarError as error:
        raise ValueError(f"{path}: not a readable tar archive ({error})") from None


def _inflate(path: Path, work: Path, max_bytes: int, max_ratio: float) -> Path:
    """The .tar of a .tgz. It gets the modification time of the .tgz, so that a later call can tell whether it fits."""
    tgz = path.stat()
    tar = work / (path.name.removesuffix(".gz").removesuffix(".tgz").removesuffix(".tar") + ".tar")
    if tar.is_file() and tar.stat().st_mtime_ns == tgz.st_mtime_ns:
        return tar
    # Headers and padding of the tar itself come on top: at most 1.5 KiB a member, and an end.
    limit = min(max_bytes + max_bytes // 4 + SMALL, max(SMALL, int(max_ratio * tgz.st_size)))
    work.mkdir(parents=True, exist_ok=True)
    part = tar.with_name(tar.name + ".part")
    try:
        written = 0
        with gzip.open(path) as packed, open(part, "wb") as file:
            while chunk := packed.read(SMALL):
                written += len(chunk)
                if written > limit:
                    raise ValueError(f"{path}: inflates to more than {limit:,} bytes; not the expected archive")
                file.write(chunk)
        os.utime(part, ns=(tgz.st_mtime_ns, tgz.st_mtime_ns))
        os.replace(part, tar)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a readable .tgz ({error})") from None
    except OSError as error:
        raise OSError(error.errno, f"cannot inflate {path} to {tar}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return tar
