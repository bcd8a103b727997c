"""Cross validations on disk, matched to the configuration that asks for them.

A result belongs to a cross validation if the digests of all its folds are those that the configuration gives them;
its file's name says nothing.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pfml.settings.run import Run
from pfml.settings.runs import by_repeat

MEASURES = [(kind, name) for kind in ("separated", "concatenated") for name in ("recall@1", "r_precision", "map@r")]


@dataclass(frozen=True)
class Result:
    """One cross validation: the digests of its folds' configurations in order, and what was measured."""

    digests: tuple[str, ...]
    numbers: dict = field(hash=False)
    path: Path

    def fold(self, k: int) -> dict:
        """What is known of fold k alone: digest, its own measures, epochs, seconds, commit, MLflow run."""
        start = f"fold{k}_"
        return {key.removeprefix(start): value for key, value in self.numbers.items() if key.startswith(start)}


def read_results(runs: str | Path = "reports/runs") -> list[Result]:
    """One result per JSON file in <runs>/<study>/mlrc/, in a stable order.

    Raises:
        ValueError: not JSON, a missing key, a wrong type or a measure outside [0, 1]; names file and key.
    """
    return [_result(path) for path in sorted(Path(runs).glob("*/mlrc/*.json"))]


def _result(path: Path) -> Result:
    def need(right: bool, key: str, expected: str, found) -> None:
        if not right:
            raise ValueError(f"{path}: {key}: expected {expected}, found {found!r}; remove it and evaluate it again")

    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable JSON file ({error}); remove it and evaluate it again") from None
    need(isinstance(raw, dict), "file", "one flat JSON object", raw)
    folds = raw.get("folds")
    need(isinstance(folds, int) and folds > 1, "folds", "their number", folds)
    digests = [f"fold{k}_digest" for k in range(folds)]
    for key in ("study", "dataset", "method", "dataset_digest", *digests):
        need(isinstance(raw.get(key), str), key, "text", raw.get(key))
    for key in [f"{kind}_{name}" for kind, name in MEASURES]:
        value = raw.get(key)
        right = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
        need(right, key, "a fraction in [0, 1]", value)
    return Result(tuple(raw[key] for key in digests), raw, path)


def fold_results(results: Iterable[Result], runs: Sequence[Run]) -> list[tuple[Run, dict, list[dict]]]:
    """(cell, its measures and origin, its history) of every fold on disk that a study's `cells` ask for: what
    `pfml.tracking.register` keeps in MLflow. Each fold's run has the measures of the joined networks too.
    """
    found, rows = {result.digests: result for result in results}, []
    for folds in by_repeat(runs).values():
        result = found.get(tuple(run.digest for run in folds))
        if result is None:
            continue
        names = [f"{kind}_{name}" for kind, name in MEASURES if kind == "concatenated"] + ["dataset_digest"]
        shared = {name: result.numbers[name] for name in names}
        history = _histories(result.path.with_suffix(".csv"))
        for k, run in enumerate(folds):
            own = [{key: row[key] for key in row if key != "fold"} for row in history if row["fold"] == k]
            rows.append((run, result.fold(k) | shared, own))
    return rows


def _histories(path: Path) -> list[dict[str, float | None]]:
    """Raises ValueError for a cell that is not a number; names the file."""
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [{key: float(text) if text else None for key, text in row.items()} for row in csv.DictReader(file)]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: expected numbers ({error}); remove it and evaluate it again") from None
