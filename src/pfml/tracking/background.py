"""A training's MLflow run is written by a thread of its own, so that no training ever waits for the store.

The training hands over its history and goes on. All waiting is at the end, in `wait_for_trackers` when the process has
nothing else to do, PATIENCE seconds at most. What the store has not taken by then the stage `register` adds later.
"""

import atexit
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pfml.settings.files import write_whole
from pfml.tracking.store import PATIENCE, failure

PAUSE = 300.0  # seconds without a request after one that failed
_open_trackers: list["BackgroundTracker"] = []


class BackgroundTracker:
    """The tracker of a training. The first failure is printed, later ones are not.

    Args:
        name: of the run, for the printed line.
        open_run: runs in the thread; gets this tracker, to tell it the MLflow run's id (`opened`), and returns a
            pfml.tracking.mlflow.Tracker.
        local: the store is a file, whose id is worth the wait; a server's is "" as long as it has not answered.
        memory: file for the id of the MLflow run, from which an interrupted training continues it.
    """

    def __init__(self, name: str, open_run: Callable, local: bool, memory: Path):
        self.name, self.memory, self._open_run, self._local = name, memory, open_run, local
        self._news = threading.Condition()
        self._run_id, self._history, self._status, self._fresh = "", [], "", False
        self._ended, self._told, self._left = False, False, PATIENCE
        _open_trackers.append(self)
        threading.Thread(target=self._work, name=f"mlflow {name}", daemon=True).start()

    @property
    def run_id(self) -> str:
        if self._local:
            self._wait_for(lambda: bool(self._run_id))
        return self._run_id

    def log_history(self, history: list[dict]) -> None:
        with self._news:
            self._history, self._fresh = [dict(row) for row in history], True
            self._news.notify_all()

    def end(self, status: str) -> None:
        """The training is over; does not wait."""
        with self._news:
            self._status = status
            self._news.notify_all()

    def wait(self) -> None:
        """Wait until all is written, for what is left of PATIENCE."""
        self._wait_for(lambda: False)
        if not self._ended:
            self._tell(TimeoutError(f"not all was taken within {PATIENCE:g} s"))

    def opened(self, run_id: str) -> None:
        """Remember the id. Once the training has finished its folder is not touched any more."""
        with self._news:
            self._run_id = run_id
            if self._status != "FINISHED":
                write_whole(self.memory, run_id)
            self._news.notify_all()

    def _wait_for(self, enough: Callable[[], bool]) -> None:
        with self._news:
            started = time.monotonic()
            self._news.wait_for(lambda: self._ended or enough(), timeout=self._left)
            self._left = max(0.0, self._left - (time.monotonic() - started))

    def _tell(self, error: Exception) -> None:
        with self._news:
            told, self._told = self._told, True
        if not told:
            print(failure(self.name, error) + "\n", end="", flush=True)  # whole, beside what the training prints

    def _work(self) -> None:
        try:
            self._follow(self._open_run(self))
        except Exception as error:
            self._tell(error)
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _follow(self, tracker) -> None:
        """Write each new history until the training ends. After a failure pause, since the store may come back."""
        quiet_until, status = 0.0, ""
        while not status:
            with self._news:
                self._news.wait_for(lambda: self._status or self._fresh)
                history, status, self._fresh = self._history, self._status, False
            if time.monotonic() < quiet_until:
                continue
            try:
                tracker.log_history(history)  # also the epochs that could not be logged before
                if status:
                    tracker.client.set_terminated(tracker.run_id, status)
            except Exception as error:
                self._tell(error)
                quiet_until = time.monotonic() + PAUSE


@atexit.register
def wait_for_trackers() -> None:
    """Let the store take what it will. At the end of the process, when no lock of a run is held."""
    while _open_trackers:
        _open_trackers.pop().wait()
