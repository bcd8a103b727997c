"""Archives as the datasets have them, and archives that want to do harm."""

import gzip
import io
import pickle
import stat
import tarfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from pfml.datasets.archives import open_archive

NOISE = np.random.default_rng(0).bytes(3000)
FILES = {"set/a.txt": b"one\n" * 500, "set/images/b.jpg": NOISE, "set/empty": b""}


@pytest.fixture
def opened(tmp_path):
    def _opened(path, max_files=100, max_bytes=1 << 20, **options):
        return open_archive(path, tmp_path / "work", max_files=max_files, max_bytes=max_bytes, **options)

    return _opened


def make_zip(path, files=FILES, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir("set")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path, files=FILES, mode="w:gz", extra=()):
    with tarfile.open(path, mode) as archive:
        folder = tarfile.TarInfo("set")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return path


MAKERS = {
    "a.zip": make_zip,
    "stored.zip": lambda path, files=FILES: make_zip(path, files, zipfile.ZIP_STORED),
    "a.tgz": make_tar,
    "a.tar.gz": make_tar,
    "a.tar": lambda path, files=FILES: make_tar(path, files, "w"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_members_come_back_byte_for_byte(tmp_path, opened, name):
    archive = opened(MAKERS[name](tmp_path / name))
    assert set(archive.members) == set(FILES)
    for copy in (archive, pickle.loads(pickle.dumps(archive))):
        assert {member: copy.read(member) for member in FILES} == FILES
    with pytest.raises(ValueError, match=r"has no member set/c\.txt"):
        archive.read("set/c.txt")


def test_nothing_is_unpacked_but_one_tar_that_is_used_again(tmp_path, opened):
    path = make_tar(tmp_path / "a.tgz")
    opened(path)
    (tar,) = (tmp_path / "work").iterdir()
    made = tar.stat().st_ino
    assert opened(path).path == tar and tar.stat().st_ino == made
    make_tar(path, {"set/new": b"new"})
    assert opened(path).read("set/new") == b"new"  # another .tgz, another .tar


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "C:/x", "a\\..\\x", ".."])
@pytest.mark.parametrize("maker", ["a.zip", "a.tgz"])
def test_names_that_point_outside_are_refused(tmp_path, opened, name, maker):
    path = MAKERS[maker](tmp_path / maker, {"fine": b"", name: b"x"})
    with pytest.raises(ValueError, match="points out of the archive") as error:
        opened(path)
    assert maker.split(".")[0] in str(error.value) and repr(name) in str(error.value)


def test_a_name_may_begin_with_a_dot_folder(tmp_path, opened):
    assert opened(make_tar(tmp_path / "a.tar", {"./set/a": b"x"}, "w")).read("set/a") == b"x"


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, opened, kind):
    info = tarfile.TarInfo("set/link")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(ValueError, match="set/link: a link or device"):
        opened(make_tar(tmp_path / "a.tgz", extra=[info]))


def test_a_link_in_a_zip_is_refused(tmp_path, opened):
    path = make_zip(tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("set/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match="set/link: a link or device"):
        opened(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("maker", ["zip", "tar"])
def test_a_name_twice_is_refused(tmp_path, opened, maker):
    if maker == "zip":
        path = make_zip(tmp_path / "a.zip")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("set/a.txt", "other")
    else:
        path = make_tar(tmp_path / "a.tar", {**FILES, "./set/a.txt": b"other"}, "w")
    with pytest.raises(ValueError, match=r"set/a\.txt: in the archive twice"):
        opened(path)


@pytest.mark.parametrize("maker", MAKERS)
def test_too_many_or_too_large_files_are_refused(tmp_path, opened, maker):
    path = MAKERS[maker](tmp_path / maker)
    with pytest.raises(ValueError, match="more than 2 files"):
        opened(path, max_files=2)
    with pytest.raises(ValueError, match="contents of more than 4,000 bytes"):
        opened(path, max_bytes=4_000)


def test_a_zip_bomb_is_refused(tmp_path, opened):
    path = make_zip(tmp_path / "a.zip", {"bomb": bytes(4 << 20)})
    with pytest.raises(ValueError, match=r"bomb: 4,194,304 bytes out of .*zip bomb"):
        opened(path, max_bytes=1 << 30)


@pytest.mark.parametrize("limits", [{"max_bytes": 1 << 30}, {"max_bytes": 1 << 20, "max_ratio": 1e9}])
def test_a_gzip_bomb_stops_early_and_leaves_nothing(tmp_path, opened, limits):
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress(bytes(32 << 20)))
    with pytest.raises(ValueError, match="inflates to more than"):
        opened(path, **limits)
    assert not list((tmp_path / "work").iterdir())


def test_a_zip_that_inflates_to_more_than_it_declares_is_never_inflated(tmp_path, opened):
    size = 20 << 20
    path = make_zip(tmp_path / "a.zip", {"bomb": bytes(size)})
    content = bytearray(path.read_bytes())
    true, lie = size.to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert content.count(true) == 2
    crc = zlib.crc32(bytes(size)).to_bytes(4, "little")
    path.write_bytes(content.replace(true, lie).replace(crc, zlib.crc32(bytes(10)).to_bytes(4, "little")))
    archive = opened(path)
    tracemalloc.start()
    with pytest.raises(ValueError, match="bomb: declares 10 bytes, has more"):
        archive.read("bomb")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20


def test_a_sparse_file_in_a_tar_is_refused(tmp_path, opened):
    info = tarfile.TarInfo("set/holes")
    info.pax_headers = {"GNU.sparse.map": "0,0,1000000,0", "GNU.sparse.size": "1000000"}
    with pytest.raises(ValueError, match="set/holes: a link or device"):
        opened(make_tar(tmp_path / "a.tgz", extra=[info]), max_bytes=1 << 30)


def test_a_tar_that_declares_more_than_it_has_is_refused(tmp_path, opened):
    path = make_tar(tmp_path / "a.tar", {"set/a": b"x" * 100}, "w")
    info = tarfile.TarInfo("set/lie")
    info.size = 1 << 40
    content = path.read_bytes().rstrip(b"\0")
    content += bytes(-len(content) % 512)
    path.write_bytes(content + info.tobuf() + bytes(1024))
    with pytest.raises(ValueError, match="set/lie"):
        opened(path, max_bytes=1 << 50)


def test_damage_is_found(tmp_path, opened):
    path = make_zip(tmp_path / "a.zip", method=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(NOISE[:100], NOISE[100:200]))
    with pytest.raises(ValueError, match=r"set/images/b\.jpg: damaged \(its CRC"):
        opened(path).read("set/images/b.jpg")


@pytest.mark.parametrize("name", ["a.zip", "a.tgz", "a.tar"])
def test_a_truncated_archive_is_named(tmp_path, opened, name):
    path = MAKERS[name](tmp_path / name, {f"set/{i}": NOISE for i in range(20)})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=name.split(".")[0]):
        opened(path)
    assert not list(tmp_path.glob("work/*"))


def test_encrypted_and_unknown_archives_are_refused(tmp_path, opened):
    path = make_zip(tmp_path / "a.zip", method=zipfile.ZIP_LZMA)
    with pytest.raises(ValueError, match="compressed in an unknown way"):
        opened(path)
    content = bytearray(make_zip(tmp_path / "b.zip").read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1  # the flag of an encrypted member
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(ValueError, match="encrypted; unpack it with its password"):
        opened(tmp_path / "b.zip")
    with pytest.raises(ValueError, match=r"expected a \.zip"):
        opened(tmp_path / "a.rar")


def test_a_full_disk_while_inflating_is_named_and_leaves_nothing(tmp_path, opened):
    import resource

    path = make_tar(tmp_path / "a.tgz", {"set/a": NOISE * 30})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match=r"cannot inflate .*a\.tgz"):
            opened(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "work").iterdir())
