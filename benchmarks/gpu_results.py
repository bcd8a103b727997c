"""The results of benchmarks/gpu.py on disk: one JSON object a line, written the moment it is measured.

A line goes out in one write at the end of the file, so that a process that is killed leaves whole lines and at most
one broken one at the end, which `read` leaves out.
"""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "gpu.jsonl"


def append(path: Path, part: str, kind: str, **found) -> None:
    """Add {"part": ..., "kind": ..., **found}. The file begins a line of its own, also after a broken one."""
    line = json.dumps({"part": part, "kind": kind, **found}, default=str) + "\n"
    with open(path, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[dict]:
    """All whole lines, in order. An empty list where nothing was written."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:  # empty, or broken by a kill
            continue
    return [entry for entry in found if isinstance(entry, dict) and {"part", "kind"} <= set(entry)]


def chosen(results: list[dict], part: str, kind: str) -> list[dict]:
    """The measurements of one kind."""
    return [entry for entry in results if entry["part"] == part and entry["kind"] == kind]


def commit(bundle: Path | None) -> str | None:
    """Of this checkout; in a copy without Git that of the bundle."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        file = bundle and bundle / "commit"
        return file.read_text().strip() if file and file.exists() else None
