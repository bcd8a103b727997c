"""The files of results below reports/, each kind as one pandas frame; a file that cannot be used is refused by name."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pfml.evaluation.result_file import FOLD_MEASURES, FoldsResult, RunResult, keys_of, read_result
from pfml.tracking.provenance import COLUMNS

ORDER = ["study", "dataset", "backbone", "dim", "axis", "value", "method", "noise", "seed", "digest", "run_name"]
PROXIES = ["proxies_per_class", "w2", "w2_relative"]  # numbers that runs without proxies lack
USUAL = "reconstruction"  # the reading of W2 that params.yaml has by default


def read_runs(folder: Path) -> pd.DataFrame:
    """A row for each result below reports/runs, in the order of results.csv, with every key that a result may have;
    <study>/mlrc/ has cross validations.
    """
    paths = [path for path in sorted(folder.rglob("*.json")) if "mlrc" not in path.relative_to(folder).parts[1:-1]]
    found = [read_result(path, RunResult) | {"path": path} for path in paths]
    known = [*keys_of(RunResult), "path"]
    frame = pd.DataFrame(found, columns=None if found else known)
    frame = frame.reindex(columns=list(dict.fromkeys([*frame, *known])))
    frame = frame.astype(dict.fromkeys(PROXIES, float)).rename(columns={"run": "run_name"})
    return frame.sort_values(ORDER, kind="stable", na_position="first", ignore_index=True)


def read_folds(folder: Path) -> pd.DataFrame:
    """A row for each result in <study>/mlrc/ below reports/runs."""
    found = [read_result(path, FoldsResult) | {"path": path} for path in sorted(folder.glob("*/mlrc/*.json"))]
    for row in found:
        row["digest"], row["run_name"] = " ".join(row[f"fold{k}_digest"] for k in range(row["folds"])), row["path"].stem
    names = ["study", "dataset", "method", "folds", "digest", "run_name", "path", *map("_".join, FOLD_MEASURES)]
    return pd.DataFrame(found, columns=None if found else names)


def read_timings(folder: Path) -> pd.DataFrame:
    """A row for each timed training, from <folder>/<study>.csv. seconds: of a step, one number a round; epochs: the
    same of an epoch.
    """
    counts = ["proxies_per_class", "steps_per_epoch", "batch"]
    names = ["method", "digest", *counts, "seconds_by_round", "processor"]
    found = [read_csv(path, names, counts).assign(study=path.stem) for path in sorted(folder.glob("*.csv"))]
    frame = _stacked(found, ["study", *names], counts)
    frame["seconds"] = [tuple(map(float, text.split())) for text in frame.seconds_by_round]
    frame["epochs"] = [tuple(s * steps for s in row) for row, steps in zip(frame.seconds, frame.steps_per_epoch)]
    return frame


def read_origins(folder: Path) -> pd.DataFrame:
    """A row for each run on record in <folder>/<study>.csv: columns `study` and COLUMNS, text but for seconds.

    Raises:
        ValueError: a file that cannot be used; names it and its column.
    """
    names, paths = ["run", "digest", "seconds"], sorted(folder.glob("*.csv"))
    found = [read_csv(path, names, ["seconds"]).assign(study=path.stem) for path in paths]
    return _stacked(found, ["study", *COLUMNS], ["seconds"]).fillna(dict.fromkeys(set(COLUMNS) - {"seconds"}, ""))


def _stacked(found: list[pd.DataFrame], names: list[str], numbers: list[str]) -> pd.DataFrame:
    """The columns `names` of all frames, also where there is no frame; a frame may lack some."""
    frame = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=names, dtype=str)
    return frame.reindex(columns=names).astype(dict.fromkeys(numbers, float))


def read_history(path: str | Path, epochs: int | None = None) -> list[dict[str, float | None]]:
    """A run's epochs as rows of numbers, None where the file has none (an epoch without evaluation).

    Args:
        epochs: how many its result has, 0 of a run that trained nothing, whose file has the row of epoch 0; None where
            it does not say.

    Raises:
        ValueError: no epoch column, a text that is not a number, or another number of epochs; names file and column.
    """
    rows = records(read_csv(Path(path), ("epoch",)))
    if epochs is not None and len(rows) != max(epochs, 1):
        raise ValueError(
            f"{path}: epoch: expected {epochs:g} epochs, as {Path(path).stem}.json has, found {len(rows)}; remove both "
            "and evaluate the run again"
        )
    return rows


def records(rows: pd.DataFrame) -> list[dict]:
    """Each row as a dict, None for what was not measured."""
    return rows.astype(object).where(rows.notna(), None).to_dict("records")


def read_csv(path: Path, needed: Sequence[str], numbers: Sequence[str] | None = None) -> pd.DataFrame:
    """A CSV file whose columns `numbers` (None: all) hold numbers, NaN where a cell is empty, and the others text.

    Raises:
        ValueError: no text in UTF-8, cut off, a column is missing or holds no number; names file and column.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: expected a table in UTF-8 ({error}); run its stage again") from None
    rows = [line for line in lines if line]
    short = next((k for k, row in enumerate(rows, start=2) if len(row) != len(header)), None)
    if short or not text.endswith("\n"):
        where = f"line {short}: expected {len(header)} cells, found {len(rows[short - 2])}" if short else "no line end"
        raise ValueError(f"{path}: {where}; the file is cut off or changed: run its stage again")
    frame = pd.DataFrame(rows, columns=header, dtype=str)
    for name in needed:
        if name not in frame:
            raise ValueError(f"{path}: {name}: missing column; found {list(frame)}; run its stage again")
    for name in frame if numbers is None else numbers:
        try:
            frame[name] = [float(text) if text else None for text in frame[name]]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {name}: expected numbers ({error}); run its stage again") from None
    return frame
