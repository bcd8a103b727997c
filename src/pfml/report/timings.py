"""Timed trainings on disk, as the stage `complexity` wrote them."""

import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pfml.report.names import method_name


@dataclass(frozen=True)
class Timed:
    """One timed training; seconds: per step, one number a round. digest: of the configuration that was timed."""

    study: str
    method: str
    proxies_per_class: int | None
    digest: str
    seconds: Sequence[float]
    steps_per_epoch: int
    batch: int
    processor: str

    @property
    def label(self) -> str:
        count = self.proxies_per_class
        return method_name(self.method) + (f" M={count}" if count is not None and self.method == "pfml" else "")

    @property
    def epochs(self) -> list[float]:
        """Seconds of an epoch, one number a round."""
        return [seconds * self.steps_per_epoch for seconds in self.seconds]

    @property
    def per_epoch(self) -> float:
        return statistics.median(self.epochs)


def read_timings(folder: Path) -> list[Timed]:
    """Every timed training on disk.

    Raises:
        ValueError: a file that the stage did not write; names it.
    """
    found = []
    for path in sorted(folder.glob("*.csv")):
        try:
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    seconds = tuple(map(float, row["seconds_by_round"].split()))
                    count = int(row["proxies_per_class"]) if row["proxies_per_class"] else None
                    who = (path.stem, row["method"], count, row["digest"], seconds)
                    found.append(Timed(*who, int(row["steps_per_epoch"]), int(row["batch"]), row["processor"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: not a file of the stage complexity ({error!r}); run it again") from None
    return found
