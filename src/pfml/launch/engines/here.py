"""One task on the node where this is called. Needs Python's own library alone, as `place` does."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pfml.launch.engines import place
from pfml.launch.engines.task import Order, Outcome, Task

LAST = 20  # lines of a task that are kept


def run_task(one: Task, order: Order, say: Callable[[str], None]) -> Outcome:
    """Run a task in the driver's tree on this node.

    Args:
        say: is given every line that it prints.
    """
    lines = []
    try:
        folder = place.unpack(order.tree, order.name, place.node_folder())
    except OSError as error:  # a full disk, a folder that may not be written
        return Outcome(one.name, 1, socket.gethostname(), (str(error),))
    environment = os.environ | order.environment | {"PYTHONPATH": "src", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, *one.arguments], cwd=folder, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    for line in process.stdout:
        lines = [*lines, line.rstrip()][-LAST:]
        say(line.rstrip())
    code, record = process.wait(), Path(folder, one.record)
    text = record.read_text(encoding="utf-8") if record.is_file() else ""
    if code == 0 and one.digest:  # what is stored needs no checkpoint
        shutil.rmtree(folder / place.CHECKPOINTS / one.digest, ignore_errors=True)
    return Outcome(one.name, code, socket.gethostname(), tuple(lines), text)
