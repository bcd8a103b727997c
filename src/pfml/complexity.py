"""Seconds of a training epoch against the number of proxies (paper, Table 9), by the training loop itself."""

import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pfml.cell import Cell
from pfml.environment import processors

COLUMNS = (
    "method", "proxies_per_class", "digest", "dataset", "backbone", "dim", "batch", "precision", "steps", "rounds",
    "steps_per_epoch", "seconds_per_step", "seconds_by_round", "seconds_per_epoch", "processor", "threads", "torch",
)  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """One method: M proxies a class (None: not counted), seconds per training step of each round, steps of an epoch."""

    cell: Cell
    proxies_per_class: int | None
    seconds: Sequence[float]
    steps_per_epoch: int

    @property
    def per_step(self) -> float:
        return statistics.median(self.seconds)


def time_cells(cells: Sequence[Cell], steps: int, rounds: int) -> list[Timing]:
    """Seconds per step of each cell: loading, network, loss and optimiser, without measurements.

    All cells take turns in each round, so that a slower minute of the machine meets them all. Of the epochs of a round,
    of `steps` steps each, the first warms up and the last, which ends with a measurement, is left out. Before the first
    round the first cell is run once for nothing: a process's first run is slower than any later one.
    """
    from pfml.data.loader import load_run_data
    from pfml.training import train

    data, seconds = {}, {cell.name: [] for cell in cells}
    for turn in range(rounds + 1):
        for cell in cells if turn else cells[:1]:
            data.setdefault(cell.dataset, load_run_data(cell))
            quick = dict(cell.train) | {"epochs": 3, "steps_per_epoch": steps, "eval_every": 3, "select": "last"}
            history = train(replace(cell, train=quick), data[cell.dataset]).history
            if turn:
                seconds[cell.name].append((history[1]["seconds"] - history[0]["seconds"]) / steps)
    timings = []
    for cell in cells:
        images = len(data[cell.dataset].train.labels)
        whole = cell.train["steps_per_epoch"] or max(1, images // cell.train["batch"])
        count = cell.loss.get("proxies_per_class", cell.loss.get("centers_per_class"))
        timings.append(Timing(cell, count, tuple(seconds[cell.name]), whole))
    return timings


def write_timings(timings: Sequence[Timing], steps: int, path: Path) -> None:
    """One line a cell; seconds_per_step is the median of seconds_by_round, which are parted by spaces. The processor is
    the GPU where there is one.
    """
    import torch

    processor = processors()[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for timing in timings:
            cell, count = timing.cell, timing.proxies_per_class
            writer.writerow([
                cell.method, "" if count is None else count, cell.digest, cell.dataset, cell.backbone, cell.dim,
                cell.train["batch"], cell.train["precision"], steps, len(timing.seconds), timing.steps_per_epoch,
                f"{timing.per_step:.6f}", " ".join(f"{seconds:.6f}" for seconds in timing.seconds),
                f"{timing.per_step * timing.steps_per_epoch:.3f}", processor, cell.train["threads"], torch.__version__,
            ])  # fmt: skip
