"""Measure the seconds of a training epoch against the number of proxies (paper, Table 9), in the training loop."""

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pfml.settings.files import write_whole
from pfml.settings.run import Run
from pfml.tracking.environment import processors

COLUMNS = (
    "method", "proxies_per_class", "digest", "dataset", "backbone", "dim", "batch", "precision", "steps", "rounds",
    "steps_per_epoch", "seconds_per_step", "seconds_by_round", "seconds_per_epoch", "processor", "threads", "torch",
)  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """Times of one run: M proxies a class (None: no such setting), seconds per step in each round, steps an epoch."""

    run: Run
    proxies_per_class: int | None
    seconds: Sequence[float]
    steps_per_epoch: int

    @property
    def per_step(self) -> float:
        return statistics.median(self.seconds)


def time_runs(runs: Sequence[Run], steps: int, rounds: int) -> list[Timing]:
    """Seconds per step of each run: loading, network, loss and optimiser, without measurements.

    All runs take turns in each round, so that a slow minute of the machine affects them all. A round has three epochs
    of `steps` steps, and the second counts: the first warms up, the last ends with a measurement. The first run trains
    once before the first round, uncounted, since the first training of a process is slower than any later one.
    """
    from pfml.training.batches.run_data import load_run_data
    from pfml.training.loop import train

    data, seconds = {}, {run.name: [] for run in runs}
    for turn in range(rounds + 1):
        for run in runs if turn else runs[:1]:
            data.setdefault(run.dataset, load_run_data(run))
            quick = dict(run.train) | {"epochs": 3, "steps_per_epoch": steps, "eval_every": 3, "select": "last"}
            history = train(replace(run, train=quick), data[run.dataset]).history
            if turn:
                seconds[run.name].append((history[1]["seconds"] - history[0]["seconds"]) / steps)
    timings = []
    for run in runs:
        images = len(data[run.dataset].train.labels)
        whole = run.train["steps_per_epoch"] or max(1, images // run.train["batch"])
        count = run.loss.get("proxies_per_class", run.loss.get("centers_per_class"))
        timings.append(Timing(run, count, tuple(seconds[run.name]), whole))
    return timings


def write_timings(timings: Sequence[Timing], steps: int, path: Path) -> None:
    """Write one line a run. seconds_per_step is the median of seconds_by_round, which are separated by spaces. The
    processor is the GPU if there is one.
    """
    import torch

    processor = processors()[-1]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for timing in timings:
        run, count = timing.run, timing.proxies_per_class
        writer.writerow([
            run.method, "" if count is None else count, run.digest, run.dataset, run.backbone, run.dim,
            run.train["batch"], run.train["precision"], steps, len(timing.seconds), timing.steps_per_epoch,
            f"{timing.per_step:.6f}", " ".join(f"{seconds:.6f}" for seconds in timing.seconds),
            f"{timing.per_step * timing.steps_per_epoch:.3f}", processor, run.train["threads"], torch.__version__,
        ])  # fmt: skip
    write_whole(path, table.getvalue())
