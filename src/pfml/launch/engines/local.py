"""Tasks as processes of this machine, in the working directory."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pfml.launch.engines.task import Order, Outcome, Task, Tell

EVERY = 0.05  # seconds between two looks at the processes


class LocalEngine:
    """Runs tasks `jobs` at a time. What they print goes where this process prints, or to a file of each.

    Where there are several GPUs each task sees one of them, that with the fewest tasks at work; all of them where one
    task runs at a time, or a run takes several processes (PFML_PROCESSES).

    Args:
        keep_going: start further tasks after a failure; otherwise those under way are finished.
        log: file of a task, by its name.
    """

    def __init__(self, jobs: int, keep_going: bool = False, log: Callable[[str], Path] | None = None):
        self.jobs, self.keep_going, self.log = jobs, keep_going, log

    def gpus(self) -> float:
        return float(len(devices()))

    def run(self, tasks: Iterable[Task], order: Order | None = None, tell: Tell | None = None) -> Iterator[Outcome]:
        waiting, failed = list(tasks), False
        running: dict[subprocess.Popen, tuple[Task, str]] = {}
        gpus = devices() if self.jobs > 1 and len(waiting) > 1 and not several_processes() else []
        try:
            while running or (waiting and not failed):
                while waiting and not failed and len(running) < self.jobs:
                    gpu = ""
                    if len(gpus) > 1:
                        gpu = min(gpus, key=[used for _, used in running.values()].count)
                    one = waiting.pop(0)
                    running[self._start(one, {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})] = one, gpu
                for process in [process for process in running if process.poll() is not None]:
                    one, _ = running.pop(process)
                    failed = failed or bool(process.returncode and not self.keep_going)
                    yield Outcome(one.name, process.returncode, socket.gethostname())
                time.sleep(EVERY)
        finally:
            for process in running:  # only after an interrupt: the trainers notice that their DVC is gone
                process.terminate()
            for process in running:
                process.wait()

    def _start(self, one: Task, seen: dict[str, str]) -> subprocess.Popen:
        command, environment = [sys.executable, *one.arguments], os.environ | seen
        if not self.log:
            return subprocess.Popen(command, env=environment)
        with self.log(one.name).open("wb") as file:
            return subprocess.Popen(command, env=environment, stdout=file, stderr=file)


def devices() -> list[str]:
    """The NVIDIA GPUs that runs may share, as CUDA_VISIBLE_DEVICES names them; none where there is no such GPU."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [one for one in allowed.split(",") if one.strip() and one.strip() != "-1"]
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, encoding="utf-8", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = found.stdout.splitlines() if found.returncode == 0 else []
    return [str(i) for i in range(sum(line.startswith("GPU ") for line in lines))]


def several_processes() -> bool:
    """Whether a run is to start several processes itself (pfml.training.run), each with a GPU where there are GPUs."""
    return int(os.environ.get("PFML_PROCESSES", "1")) > 1


def at_a_time(asked: int) -> tuple[int, int]:
    """How many trainings, and how many other stages, run at a time if not `asked`: one training per GPU, since several
    may not find the memory on one (or one in all, if a training takes several processes), else one per core, at most 8.
    """
    cores = min(8, os.cpu_count() or 1)
    trainings = 1 if several_processes() else len(devices()) or cores
    return asked or trainings, asked or cores
