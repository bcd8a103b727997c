"""The kinds of damage of `make torture`. Each is a context around the calls of `make repro` in a trial's folder."""

import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.pipeline.clones import ENVIRONMENT

REPRO = (sys.executable, "-m", "pfml.launch", "-j2")
LONGEST = 300  # seconds of one call
PLACES = ("models", "data", ".dvc/cache", ".dvc/tmp", ".checkpoints", ".provenance", "reports", "mlflow.db")
TRAININGS, EPOCHS = 2, 3
COMPLETE = f"""
    SELECT COUNT(DISTINCT digest.value)
    FROM runs JOIN tags digest USING (run_uuid) JOIN latest_metrics last USING (run_uuid)
    WHERE runs.status = 'FINISHED' AND digest.key = 'config_digest' AND last.key = 'final/recall_at_1'
    AND (SELECT COUNT(DISTINCT step) FROM metrics m WHERE m.run_uuid = runs.run_uuid AND m.key = 'loss') = {EPOCHS}
"""  # runs with every epoch and their final measures
Repro = Callable[[], tuple[int, str]]


class Trial:
    """A copy of the finished study in `place`, without the outputs `missing`; what was done to it is in `done`."""

    def __init__(self, template: Path, place: Path, draw: random.Random, missing: tuple[str, ...]):
        self.template, self.place, self.draw, self.done = template, place, draw, []
        self.missing, self.environment = missing, dict(ENVIRONMENT)
        self.revive: Callable[[], None] = lambda: None  # starts the MLflow server again
        shutil.rmtree(place, ignore_errors=True)

    def copy(self) -> None:
        shutil.copytree(self.template, self.place, symlinks=True, dirs_exist_ok=True)
        for name in self.missing:
            shutil.rmtree(self.place / name, ignore_errors=True)
        if self.missing:
            self.done.append(f"without {', '.join(self.missing)}")

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(
            REPRO, cwd=self.place, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def kill_after(self, seconds: float) -> None:
        """`make repro`, killed if it is still at work after so many seconds."""
        process = self.start()
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            kill(process)
            self.done.append(f"killed after {seconds:.1f} s")

    def repro(self) -> tuple[int, str]:
        """`make repro`: its exit code and what it printed."""
        process = self.start()
        try:
            said, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            kill(process)
            return 1, f"error: hangs for {LONGEST} s"
        return process.returncode, said

    def file(self) -> Path | None:
        """A file that Git does not keep, each place as likely as another."""
        for place in self.draw.sample(PLACES, len(PLACES)):
            path = self.place / place
            files = [path] if path.is_file() else sorted(path.rglob("*"))
            kept = set(git(self.place, "ls-files", "--", place).splitlines())
            files = [one for one in files if one.is_file() and one.stat().st_size]
            files = [one for one in files if one.relative_to(self.place).as_posix() not in kept]
            if files:
                return self.draw.choice(files)
        return None

    def missing_in_mlflow(self) -> str:
        """What MLflow lacks after the stage `register`, which makes up for what a run could not log; "" if nothing. A
        store that was damaged itself is not asked.
        """
        if any("mlflow.db" in what for what in self.done):
            return ""
        self.revive()
        register = [sys.executable, "-m", "dvc", "repro", "--quiet", "-f", "-s", "register"]
        subprocess.run(register, cwd=self.place, env=self.environment, check=True, capture_output=True)
        with closing(sqlite3.connect(self.place / "mlflow.db")) as store:
            [complete] = store.execute(COMPLETE).fetchone()
            [running] = store.execute("SELECT COUNT(*) FROM runs WHERE status = 'RUNNING'").fetchone()
        said = [] if complete == TRAININGS else [f"{complete} of {TRAININGS} runs complete in MLflow"]
        return "; ".join(said + [f"{running} runs left RUNNING in MLflow"] * bool(running))


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def kill(process: subprocess.Popen) -> None:
    """The whole group, as a power cut."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@contextmanager
def killed(one: Trial) -> Iterator[Repro]:
    """One to three kills of the whole group, each after a random time."""
    one.copy()
    for _ in range(one.draw.randint(1, 3)):
        one.kill_after(one.draw.uniform(1, 45))
    yield one.repro


def changing(word: str, change: Callable[[bytes, random.Random], bytes]) -> Callable:
    """A kind that changes the content of one to three files."""

    @contextmanager
    def changed(one: Trial) -> Iterator[Repro]:
        for path in chosen(one, 3):
            path.chmod(path.stat().st_mode | 0o200)
            path.write_bytes(change(path.read_bytes(), one.draw))
            one.done.append(f"{word} {path.relative_to(one.place)}")
        yield one.repro

    return changed


def chosen(one: Trial, most: int) -> Iterator[Path]:
    """One to `most` files to damage. In half of the trials with missing outputs the pipeline was killed on the way
    before, and has checkpoints.
    """
    one.copy()
    if one.missing and one.draw.random() < 0.5:
        one.kill_after(one.draw.uniform(10, 30))
    for _ in range(one.draw.randint(1, most)):
        if path := one.file():
            yield path


def flip(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


@contextmanager
def deleted(one: Trial) -> Iterator[Repro]:
    """One to four files, or the folders that hold them."""
    for path in chosen(one, 4):
        if one.draw.random() < 0.3 and path.parent != one.place and not git(one.place, "ls-files", "--", path.parent):
            path = path.parent
            shutil.rmtree(path)
        else:
            path.unlink()
        one.done.append(f"deleted {path.relative_to(one.place)}")
    yield one.repro


@contextmanager
def full_disk(one: Trial) -> Iterator[Repro]:
    """The study on a disk with little room; after each failed call there is more. Needs the right to mount."""
    needed = sum(path.stat().st_size for path in one.template.rglob("*") if path.is_file()) // 1024
    one.place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={3 * needed}k", "tmpfs", one.place]
    subprocess.run(mount, check=True)
    try:
        one.copy()
        used = shutil.disk_usage(one.place).used // 1024
        left = 64 + int(max(0, needed - used) * one.draw.uniform(0, 1.2))  # of what the missing outputs need
        subprocess.run(["mount", "-o", f"remount,size={used + left}k", one.place], check=True)
        one.done.append(f"{left} KiB left")

        def repro() -> tuple[int, str]:
            code, said = one.repro()
            if code:
                one.done.append("full" if "No space left" in said or "disk is full" in said else "failed")
                subprocess.run(["mount", "-o", f"remount,size={3 * needed}k", one.place], check=True)
            return code, said

        yield repro
    finally:
        subprocess.run(["umount", "-l", one.place], check=True)


@contextmanager
def dying_server(one: Trial) -> Iterator[Repro]:
    """An MLflow server that is killed at a random time of the first call, and is there again from the second on."""
    one.copy()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = one.place / "mlflow.db"

    def server() -> subprocess.Popen:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{store}", "--host",
                   "127.0.0.1", "--port", str(port), "--workers", "1"]  # fmt: skip
        return subprocess.Popen(
            command, cwd=one.place, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    one.environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
    running = [server()]
    time.sleep(8)
    after = one.draw.uniform(1, 40)
    one.done.append(f"server killed after {after:.1f} s")

    def revive() -> None:
        if not running:
            running.append(server())
            time.sleep(8)

    one.revive = revive

    def repro() -> tuple[int, str]:
        if not running:
            revive()
            return one.repro()
        process = one.start()
        try:
            said, _ = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            kill(running.pop())
            said, _ = process.communicate(timeout=LONGEST)
        return process.returncode, said

    try:
        yield repro
    finally:
        for process in running:
            kill(process)


@contextmanager
def two_launchers(one: Trial) -> Iterator[Repro]:
    """A second `make repro` in the same folder, begun a random time after the first."""
    one.copy()
    first, after = one.start(), one.draw.uniform(0, 20)
    with suppress(subprocess.TimeoutExpired):
        first.communicate(timeout=after)
    one.done.append(f"a second launcher after {after:.1f} s")
    second = one.start()
    for process in (second, first):
        said, _ = process.communicate(timeout=LONGEST)
        if process.returncode and ("Traceback" in said or "error:" not in said.lower()):
            one.done.append(f"said: {said.strip().splitlines()[-1][:100] if said.strip() else 'nothing'}")
    yield one.repro


KINDS = {
    "kill": killed,
    "bit flip": changing("flipped a bit of", flip),
    "truncation": changing("cut off", lambda data, draw: data[: draw.randrange(len(data))]),
    "deletion": deleted,
    "full disk": full_disk,
    "dying MLflow server": dying_server,
    "two launchers": two_launchers,
}
