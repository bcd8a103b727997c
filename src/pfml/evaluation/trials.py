"""The trials of a search for settings and their files, reports/tuning/<dataset>/<method>.csv. The search writes them as
it goes on, and continues from them; the report reads them.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfml.settings.files import write_whole

RANDOM_TRIALS = 8  # before the estimator proposes; Optuna's own default is 10, of searches longer than ours
COLUMNS = ("trial", "noise", "val_map@r", "val_recall@1", "settings", "search")


@dataclass(frozen=True)
class Trial:
    """Settings ("train.lr": 0.003, ...) and, for each label noise, MAP@R and R@1 on the validation classes: fractions,
    0 where the loss became NaN or infinite.
    """

    number: int
    settings: Mapping
    noise: Sequence[float]
    map_at_r: Sequence[float]
    recall_at_1: Sequence[float]

    @property
    def score(self) -> float:
        return sum(self.map_at_r) / len(self.map_at_r)


def best(trials: Sequence[Trial]) -> Trial:
    """The highest score; of equal ones the first."""
    return max(trials, key=lambda trial: (trial.score, -trial.number))


def write_trials(path: Path, trials: Sequence[Trial], mark: str) -> None:
    """One line a training: trial, noise, both measures, the trial's settings as JSON, the search's fingerprint. Whole
    or not at all.
    """
    lines = [
        (trial.number, noise, trial.map_at_r[i], trial.recall_at_1[i], json.dumps(dict(trial.settings)), mark)
        for trial in trials
        for i, noise in enumerate(trial.noise)
    ]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *lines])
    write_whole(path, table.getvalue())


def read_trials(path: Path) -> tuple[list[Trial], str]:
    """Trials in their order and the fingerprint of their search.

    Raises:
        ValueError: a file that `write_trials` did not write; names it.
    """
    rows: dict[int, list] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.setdefault(int(row["trial"]), []).append(row)
        trials = [
            Trial(number, json.loads(found[0]["settings"]), *(
                tuple(float(row[column]) for row in found) for column in COLUMNS[1:4]))
            for number, found in sorted(rows.items())
        ]  # fmt: skip
        [mark] = {row["search"] for found in rows.values() for row in found}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected the columns {', '.join(COLUMNS)} ({error}); remove it and tune again"
        ) from None
    return trials, mark
