"""Every finished run on disk, and which of them the present configuration asks for.

A result is matched to a cell by the digest of its resolved configuration, never by its file name. A run that no
expected cell has the digest of is kept and listed, but enters no table cell.
"""

import csv
import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

# What a run's file must hold: key -> (types, null allowed). Measured numbers are fractions in [0, 1].
TEXT, COUNT, NUMBER = (str,), (int,), (int, float)
KEYS = {
    "study": (TEXT, False), "cell": (TEXT, False), "dataset": (TEXT, False), "backbone": (TEXT, False),
    "dim": (COUNT, False), "method": (TEXT, False), "noise": (NUMBER, False), "seed": (COUNT, False),
    "axis": (TEXT, False), "value": (NUMBER, True), "digest": (TEXT, False),
    "recall@1": (NUMBER, False), "map@r": (NUMBER, True), "r_precision": (NUMBER, True), "nmi": (NUMBER, True),
    "best_recall@1": (NUMBER, True), "best_epoch": (COUNT, True), "epochs": (COUNT, True), "seconds": (NUMBER, True),
    "git_commit": (TEXT, True), "mlflow_run": (TEXT, True), "dataset_digest": (TEXT, True),
}  # fmt: skip
FRACTION = re.compile(r"(best_|seen_)?recall@\d+|(seen_)?map@r|r_precision|nmi|few_shot_\d+")
PROXY_KEYS = ("w2", "w2_relative", "proxies_per_class")
RESULT_COLUMNS = (
    "study,dataset,backbone,dim,method,noise,seed,axis,value,digest,{recalls},map@r,r_precision,nmi,seen_recall@1,seen_map@r,"
    "few_shot_1,few_shot_5,w2,w2_relative,"
    "best_recall@1,best_epoch,epochs,selected_epoch,seconds,git_commit,mlflow_run,status"
)


@dataclass(frozen=True)
class Record:
    """One finished run: who it is, and `numbers` (recall@K, map@r, w2, seconds, ...), None where not measured."""

    study: str
    run: str
    dataset: str
    backbone: str
    dim: int
    method: str
    noise: float
    seed: int
    axis: str
    value: float | None
    digest: str
    numbers: Mapping = field(hash=False)
    path: Path | None = None

    @property
    def order(self) -> tuple:
        """Sort key: study, dataset, network, grid before ablations, method, point, seed."""
        value = -math.inf if self.value is None else self.value
        return (self.study, self.dataset, self.backbone, self.dim, self.axis, value, self.method, self.noise,
                self.seed, self.digest, self.run)  # fmt: skip


@dataclass(frozen=True)
class Ledger:
    """`current`: runs whose digest an expected cell has. `others`: on disk, not asked for by the configuration."""

    current: tuple[Record, ...]
    others: tuple[Record, ...]

    def find(self, run) -> Record | None:
        """The run of a cell, None where it is not finished. Of runs with one digest the cell's own file comes first."""
        same = self._by_digest.get(run.digest, ())
        return min(same, key=lambda r: ((r.study, r.run) != (run.study, run.name), r.order), default=None)

    @cached_property
    def _by_digest(self) -> dict[str, list[Record]]:
        found: dict = {}
        for record in self.current:
            found.setdefault(record.digest, []).append(record)
        return found

    def find_all(self, runs: Iterable) -> list[Record]:
        return [record for record in map(self.find, runs) if record is not None]


@dataclass(frozen=True)
class Sweep:
    """One ablation axis: its default value with the grid's own cells that have it, and the cells of other points."""

    axis: str
    default: float
    base: Sequence
    runs: Sequence

    def points(self) -> list[tuple[float, list]]:
        """(value, its cells), by rising value; a swept point that equals the default is one run and counts once."""
        by_value = {float(self.default): {run.digest: run for run in self.base}}
        for run in self.runs:
            by_value.setdefault(float(run.value), {}).setdefault(run.digest, run)
        return sorted((value, list(runs.values())) for value, runs in by_value.items())


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (None below two values) over the n finished of `expected` seeds."""

    mean: float | None
    std: float | None
    n: int
    expected: int


def read_ledger(reports: str | Path, expected: Iterable) -> Ledger:
    """All runs under reports/runs with W2 from reports/wasserstein, split by the digests of the `expected` cells.

    Raises:
        ValueError: a file that cannot be used; names file and key.
    """
    return split(join_wasserstein(read_runs(Path(reports, "runs")), Path(reports, "wasserstein")), expected)


def read_runs(folder: str | Path) -> list[Record]:
    """One record per JSON file below `folder`, in a stable order; none where the folder does not exist. Cross
    validations, <study>/mlrc/, are no single runs: pfml.report.mlrc reads them.

    Raises:
        ValueError: not JSON, a missing key, a wrong type or a number outside its range; names file and key.
    """
    paths = [path for path in Path(folder).rglob("*.json") if "mlrc" not in path.relative_to(folder).parts[1:-1]]
    return sorted(map(_record, paths), key=lambda r: r.order)


def _record(path: Path) -> Record:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable JSON file ({error}); remove it and evaluate the cell again") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: expected one flat JSON object, found {type(raw).__name__}")
    for key, (kinds, nullable) in KEYS.items():
        if key not in raw:
            raise ValueError(f"{path}: {key}: missing; remove the file and evaluate the cell again")
        _check(path, key, raw[key], kinds, nullable)
    for key in filter(FRACTION.fullmatch, raw):
        _check(path, key, raw[key], NUMBER, nullable=key != "recall@1")
    if not re.fullmatch("[0-9a-f]{16}", raw["digest"]):
        raise ValueError(f"{path}: digest: expected 16 hexadecimal digits, found {raw['digest']!r}")
    identity = {key: raw.pop(key) for key in list(KEYS)[:11]}
    return Record(run=identity.pop("cell"), **identity, numbers=raw, path=path)


def _check(path: Path, key: str, value, kinds: tuple, nullable: bool) -> None:
    if value is None and nullable:
        return
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise ValueError(f"{path}: {key}: expected {' or '.join(k.__name__ for k in kinds)}, found {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path}: {key}: expected a finite number, found {value!r}")
    if FRACTION.fullmatch(key) and not 0 <= value <= 1:
        raise ValueError(f"{path}: {key}: expected a fraction in [0, 1], found {value!r} (percent?)")


def join_wasserstein(records: Sequence[Record], folder: str | Path) -> list[Record]:
    """`records` with w2, w2_relative and proxies_per_class from <folder>/<study>/<dataset>.csv, joined by digest: from
    a record's own study where it has the digest, which another may have measured otherwise.

    Raises:
        ValueError: a missing column or a cell that is not a number; names file, line and column.
    """

    def keys(study: str, digest: str, run: str) -> list[tuple]:
        return [(study, digest, run), (study, digest), (digest,)]

    found = {}
    for path in sorted(Path(folder).rglob("*.csv")):
        for line, row in enumerate(_rows(path, ("cell", "digest", *PROXY_KEYS)), start=2):
            measured = {name: _number(path, line, name, row[name]) for name in PROXY_KEYS}
            measured["w2_measure"] = row.get("measure", "")
            for key in keys(path.parent.name, row["digest"], row["cell"]):
                found.setdefault(key, measured)

    def joined(record: Record) -> Record:
        measured = next((found[key] for key in keys(record.study, record.digest, record.run) if key in found), {})
        return replace(record, numbers={"w2": None, "w2_relative": None, **record.numbers, **measured})

    return [joined(record) for record in records]


def read_history(path: str | Path) -> list[dict[str, float | None]]:
    """A run's epochs as rows of numbers, None where a cell is empty (an epoch without evaluation).

    Raises:
        ValueError: no epoch or recall@1 column, or a cell that is not a number; names file, line and column.
    """
    rows = enumerate(_rows(Path(path), ("epoch", "recall@1")), start=2)
    return [{key: _number(path, line, key, text) for key, text in row.items()} for line, row in rows]


def _rows(path: Path, needed: Sequence[str]) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        for key in needed:
            if key not in (reader.fieldnames or ()):
                raise ValueError(f"{path}: {key}: missing column; found {reader.fieldnames}")
        return list(reader)


def _number(path, line: int, key: str, text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except (TypeError, ValueError):
        raise ValueError(f"{path}: line {line}, {key}: expected a number, found {text!r}") from None


def split(records: Iterable[Record], expected: Iterable) -> Ledger:
    """Records whose digest one of the expected cells (anything with .digest) has, and the rest."""
    digests = {run.digest for run in expected}
    records = sorted(records, key=lambda r: r.order)
    return Ledger(
        current=tuple(r for r in records if r.digest in digests),
        others=tuple(r for r in records if r.digest not in digests),
    )


def summarise(ledger: Ledger, runs: Sequence, key: str) -> Summary:
    """A measured number over the seeds of one table row; runs that did not measure it do not count."""
    values = [record.numbers.get(key) for record in ledger.find_all(runs)]
    values = [value for value in values if value is not None]
    return Summary(
        mean=statistics.fmean(values) if values else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
        n=len(values),
        expected=len(runs),
    )


def histories(ledger: Ledger, runs: Iterable) -> list[tuple[str, float, list[dict]]]:
    """(method, noise, history rows) of every finished cell that has its history file beside its result."""
    found = [(run, ledger.find(run)) for run in runs]
    paths = [(run, r.path.with_suffix(".csv")) for run, r in found if r and r.path]
    return [(run.method, float(run.noise), read_history(path)) for run, path in paths if path.exists()]


def recall_levels(records: Iterable[Record]) -> list[int]:
    """The K of every recall@K on record, rising; 1, 2, 4, 8 where there is none."""
    keys = {key for record in records for key in record.numbers if re.fullmatch(r"recall@\d+", key)}
    return sorted(int(key.split("@")[1]) for key in keys) or [1, 2, 4, 8]


def write_results_csv(ledger: Ledger, path: str | Path) -> None:
    """reports/results.csv: one line per finished run of every study, fractions as measured, six significant digits."""
    status = {record: "current" for record in ledger.current} | {record: "other" for record in ledger.others}
    records = sorted(status, key=lambda r: r.order)
    levels = sorted({1, 2, 4, 8, *recall_levels(records)})
    columns = RESULT_COLUMNS.format(recalls=",".join(f"recall@{k}" for k in levels)).split(",")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for record in records:
            known = {**record.numbers, **vars(record), "status": status[record]}
            writer.writerow([_cell_text(known.get(column)) for column in columns])


def _cell_text(value) -> str:
    if value is None:
        return ""
    return format(value, ".6g") if isinstance(value, float) else str(value)
