"""Checkpoints of a training: written whole, checked when they are read, kept until DVC has stored the finished run.

A folder .checkpoints/<digest>/ holds the last checkpoint (state.pt), the one before (before.pt) and the number of the
MLflow run (mlflow_run). A file is the SHA-256 of its content as a line, and the content as torch.save writes it. One
flipped bit would otherwise be trained on, and give another network without a word.
"""

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

from pfml.settings.dvc_cache import stored
from pfml.settings.files import write_whole
from pfml.settings.run import Run, project_root

LAST, BEFORE, MEMORY = "state.pt", "before.pt", "mlflow_run"


def checkpoint_folder(run: Run) -> Path:
    return project_root() / ".checkpoints" / run.digest


def save_checkpoint(folder: Path, state: dict) -> None:
    """Write the last checkpoint; the one that was the last becomes the one before. A stop or a power cut at any moment
    leaves a whole one.

    Raises:
        OSError: a full disk, say; names the file. Both checkpoints stay as they were.
    """
    import torch

    content = io.BytesIO()
    torch.save(state, content)
    part = folder / f"{LAST}.next"
    digest = hashlib.sha256(content.getbuffer()).hexdigest()
    write_whole(part, digest.encode() + b"\n" + content.getbuffer())
    if (folder / LAST).exists():
        os.replace(folder / LAST, folder / BEFORE)
    os.replace(part, folder / LAST)


def load_checkpoint(folder: Path, fingerprint: str, tell: Callable[[str], None] = print) -> dict | None:
    """The newest checkpoint that is whole, None if there is none or it belongs to other data or code (its entry `work`,
    which is left out, is not `fingerprint`). Never unpickles objects.

    Args:
        tell: is given a line about each damaged file. It is set aside as <name>.damaged.
    """
    import torch

    for name, rest in ((LAST, "the one before is looked for"), (BEFORE, "the training starts anew")):
        path = folder / name
        if not path.exists():
            continue
        digest, _, content = path.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            path.replace(aside := path.with_name(f"{name}.damaged"))
            tell(f"{path}: damaged, its SHA-256 is not the one written with it; now {aside.name}; {rest}")
            continue
        # To the CPU: the next GPU may be another, or several.
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return state if state.pop("work") == fingerprint else None
    return None


def drop_checkpoint(run: Run) -> None:
    """Remove what a run needs no more once DVC has stored it: not at its end, since a full disk or a kill may come
    before. Nothing is removed of a run that is not in DVC's cache, or that a process works on.
    """
    from filelock import FileLock, Timeout

    folder = checkpoint_folder(run)
    left = [path for name in (LAST, BEFORE, MEMORY) if (path := folder / name).exists()]
    if not left or not stored(sorted(run.paths().model.glob("*"))):
        return
    try:
        with FileLock(folder / "lock", timeout=0):
            for path in left:
                path.unlink(missing_ok=True)
    except Timeout:
        pass
