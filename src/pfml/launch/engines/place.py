"""The driver's tree on a node: the last commit without its history, and every file as it lies in the driver's folder.

A node needs no access to the driver's disk or to its Git server. This module needs Python's own library alone, since
Ray carries it to nodes whose pfml may be another one.
"""

import fcntl
import io
import os
import shutil
import socket
import tarfile
from pathlib import Path

CHECKPOINTS = ".checkpoints"


def pack(tree: Path) -> bytes:
    """A tree as a compressed archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        archive.add(tree, ".")
    return buffer.getvalue()


def node_folder() -> Path:
    """Where a node keeps trees and checkpoints: PFML_NODE_DIR, else ~/.cache/pfml/nodes/<machine>."""
    own = os.environ.get("PFML_NODE_DIR")
    return Path(own) if own else Path.home() / ".cache/pfml/nodes" / socket.gethostname()


def unpack(tree: bytes, name: str, base: Path) -> Path:
    """The folder of a tree on this node, made once. Checkpoints are shared with the node's other trees, so that a run
    goes on after the driver has changed something else.

    Args:
        name: the same for trees whose code, settings and data are the same.
        base: of `node_folder`.
    """
    place = base / name
    (base / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    with open(base / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            part = place.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            with tarfile.open(fileobj=io.BytesIO(tree), mode="r:gz") as archive:
                archive.extractall(part, filter="tar")
            (part / CHECKPOINTS).symlink_to(base.resolve() / CHECKPOINTS)
            part.rename(place)
    return place
