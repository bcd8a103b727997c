"""Seconds of a training epoch against the number of proxies (paper, Table 9), by the training loop itself."""

import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pfml.cell import Cell
from pfml.environment import processors

COLUMNS = (
    "method", "proxies_per_class", "dataset", "backbone", "dim", "batch", "precision", "steps", "rounds",
    "steps_per_epoch", "seconds_per_step", "low", "high", "seconds_per_epoch", "processor", "threads", "torch",
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
    of `steps` steps each, the first warms up and the last, which ends with a measurement, is left out.
    """
    from pfml.data.loader import load_run_data
    from pfml.training import train

    data, seconds = {}, {cell.name: [] for cell in cells}
    for _ in range(rounds):
        for cell in cells:
            data.setdefault(cell.dataset, load_run_data(cell))
            quick = dict(cell.train) | {"epochs": 3, "steps_per_epoch": steps, "eval_every": 3, "select": "last"}
            history = train(replace(cell, train=quick), data[cell.dataset]).history
            seconds[cell.name].append((history[1]["seconds"] - history[0]["seconds"]) / steps)
    timings = []
    for cell in cells:
        images = len(data[cell.dataset].train.labels)
        whole = cell.train["steps_per_epoch"] or max(1, images // cell.train["batch"])
        count = cell.loss.get("proxies_per_class", cell.loss.get("centers_per_class"))
        timings.append(Timing(cell, count, tuple(seconds[cell.name]), whole))
    return timings


def write_timings(timings: Sequence[Timing], steps: int, path: Path) -> None:
    """One line a cell; seconds_per_step is the median over rounds, low and high its range. The processor is the GPU
    where there is one.
    """
    import torch

    processor = processors()[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for timing in timings:
            cell, spread = timing.cell, (timing.per_step, min(timing.seconds), max(timing.seconds))
            writer.writerow([
                cell.method, "" if timing.proxies_per_class is None else timing.proxies_per_class, cell.dataset,
                cell.backbone, cell.dim, cell.train["batch"], cell.train["precision"], steps, len(timing.seconds),
                timing.steps_per_epoch, *(f"{value:.6f}" for value in spread),
                f"{timing.per_step * timing.steps_per_epoch:.3f}", processor, cell.train["threads"], torch.__version__,
            ])  # fmt: skip
