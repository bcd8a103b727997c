"""Files are written whole or not at all, and all text is UTF-8, whatever the locale."""

import ast
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from pfml.settings.files import on_disk, write_whole
from tests.conftest import ROOT
from tests.small_disk import small_disk

PACKAGES = (
    "report",
    "figures",
    "settings",
    "launch",
    "labels",
    "datasets",
    "theory",
    "training",
    "evaluation",
    "tracking",
    "images",
)


def test_text_is_utf_8_with_its_own_line_ends(tmp_path):
    path = tmp_path / "new/a.txt"
    write_whole(path, "αδ\n文\r\n")
    assert path.read_bytes() == "αδ\n文\r\n".encode() and [one.name for one in path.parent.iterdir()] == ["a.txt"]
    write_whole(path, b"\0\xff")
    assert path.read_bytes() == b"\0\xff"


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "before")
    with pytest.raises(ValueError, match=r"a\.txt: expected text, found a character that UTF-8 does not have"):
        write_whole(path, "half \ud800")
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    """A limit on the size of files stands for the disk."""
    path = tmp_path / "a.txt"
    write_whole(path, "before")
    code = (
        "import resource, signal, sys; from pfml.settings.files import write_whole\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_whole(sys.argv[1], 'x' * 5000)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code, path], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "File too large" in done.stderr
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_named_with_what_to_do(tmp_path):
    """Also where a library writes: NumPy's own error has neither path nor cause."""
    with small_disk(tmp_path / "disk", 64) as disk:
        (disk / "a.txt").write_text("before")
        with pytest.raises(OSError, match=r"disk/a\.txt: No space left on device: free some and run the same command"):
            write_whole(disk / "a.txt", bytes(10**6))
        assert (disk / "a.txt").read_text() == "before"
        with pytest.raises(OSError, match=r"disk: No space left on device: free some and run the same"), on_disk(disk):
            np.save(disk / "b.npy", np.zeros(10**6))
    with pytest.raises(OSError, match="No such file"), on_disk(tmp_path):
        (tmp_path / "none").read_text()


def test_a_kill_leaves_the_file_as_it_was(tmp_path):
    """Killed between the last byte and the new name."""
    path = tmp_path / "a.txt"
    write_whole(path, "before")
    code = (
        "import os, signal, sys; from pfml.settings.files import write_whole\n"
        "os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)\nwrite_whole(sys.argv[1], 'after')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    assert subprocess.run([sys.executable, "-c", code, path], env=environment).returncode == -signal.SIGKILL
    assert path.read_text() == "before"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_text_is_read_and_written_as_utf_8(package):
    """No open, read_text, write_text or program's output as text without an encoding."""
    wrong = []
    for path in sorted((ROOT / "src/pfml" / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and not named(node) and of_text(node):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:80]}")
    assert wrong == []


def named(call: ast.Call) -> bool:
    return any(keyword.arg == "encoding" for keyword in call.keywords)


def of_text(call: ast.Call) -> bool:
    """Whether a call opens text. Archives, images and addresses have an `open` of their own."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if name == "open" and owner not in ("Image", "tarfile", "gzip", "opener", "os"):
        modes = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        return not any("b" in mode for mode in modes)
    asked = any(keyword.arg == "text" and getattr(keyword.value, "value", 0) is True for keyword in call.keywords)
    return name in ("read_text", "write_text") or asked
