"""`pfml where`: what a number rests on. Finds runs by any of their names and says where everything of them is."""

import csv
import json
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pfml.settings import ConfigError
from pfml.settings.plan import FOLDER as PLAN
from pfml.settings.presets import FOLDER as PRESETS
from pfml.settings.presets import every_params, preset_names, read_preset
from pfml.settings.run import COPIES, Run
from pfml.settings.runs import planned_runs
from pfml.settings.schema import Params
from pfml.settings.stages import stages_of
from pfml.tracking.provenance import FOLDER as PROVENANCE
from pfml.tracking.store import tags_in_store
from pfml.tracking.tags import ROW, row_of

KINDS = (
    "the id of an MLflow run, a digest, the name of a run, or a row such as glyphs/conv3/64/pfml/0.2, or a cell of the "
    "tables such as '81.1 ± 0.6'"
)
SHORTEST = 6  # digits of a digest or an id that are enough


@dataclass(frozen=True)
class Record:
    """A run that a study asks for, or a result whose settings no study has any more (`run` is None then).

    Attributes:
        preset: the preset of its study, "" for params.yaml.
        fields: the methods of the study that are fields.
        result: the content of its result file, {} without one.
        path: its result file, where that is there.
        origin: its row in reports/provenance, {} without one.
    """

    study: str
    name: str
    digest: str
    run: Run | None
    preset: str
    fields: tuple[str, ...]
    result: dict
    path: Path | None
    origin: dict

    @property
    def row(self) -> str:
        return row_of(self.run) if self.run else ""


def find_records(text: str, params: Params) -> list[Record]:
    """The runs that `text` names (KINDS), those with a result first.

    Raises:
        ConfigError: no run has this name.
    """
    text = text.strip()
    found = [record for record in records(params) if _fits(record, text)]
    if not found and re.fullmatch("[0-9a-f]{32}", text):
        tags = tags_in_store(text) if params.tracking.enabled else {}
        if digest := tags.get("config_digest"):
            found = [record for record in records(params) if record.digest == digest]
        elif tags.get("level") == ROW:
            found = [
                record for record in records(params) if record.row == tags["row"] and record.study == tags["study"]
            ]
    if not found:
        raise ConfigError(f"{text!r}: expected {KINDS}; found no such run in any study, result or MLflow run")
    return sorted(found, key=lambda record: not record.result)


def records(params: Params) -> Iterator[Record]:
    """Every run of every study, then the results that none of them has any more."""
    results, origins = _results(), _origins()
    presets = {read_preset(name).get("study"): name for name in preset_names()} if PRESETS.is_dir() else {}
    asked = set()
    for study in every_params(params, tell=lambda line: None):
        preset = "" if study.study == params.study else presets.get(study.study, "")
        for run in planned_runs(study):
            path, result = results.get((study.study, run.digest), (None, {}))
            asked.add((study.study, run.digest))
            yield Record(
                study.study, run.name, run.digest, run, preset, (*study.grid.field, *study.mlrc.field), result, path,
                _origin(origins, study.study, run.digest),
            )  # fmt: skip
    for (study, digest), (path, result) in results.items():
        if (study, digest) not in asked:
            yield Record(study, path.stem, digest, None, "", (), result, path, _origin(origins, study, digest))


def describe(record: Record) -> str:
    """Everything about a run, a line each: `label   text`."""
    origin, result, run = record.origin, record.result, record.run
    place = place_of(record)
    lines = [("run", f"{record.study}/{record.name}"), ("digest", record.digest)]
    if record.row:
        lines.append(("row", record.row))
    if record.path:
        measures = ", ".join(f"{name} {100 * result[name]:.2f} %" for name in ("recall@1", "map@r") if name in result)
        state = "" if run else " (outdated: its study has other settings now)"
        lines.append(("result", " ".join(filter(None, [str(record.path), measures])) + state))
    else:
        lines.append(("result", "none yet"))
    if run:
        training, evaluation = stages_of(run, record.fields)
        paths = run.paths()
        lines += [
            ("stages", f"{training}, {evaluation}"),
            ("settings", _there(place / PLAN / "runs" / f"{run.name}.json")),
            ("images", f"{_there(place / 'data/raw' / run.dataset)} {result.get('dataset_digest', '')}".rstrip()),
            ("labels", _there(place / paths.manifest)),
            ("network", _there(place / paths.model)),
        ]
    if origin:
        lines += [
            ("commit", origin["git_commit"] or "not recorded"),
            ("trained on", f"{origin['kind'] or 'a kind not recorded'}, {origin['seconds']} s"),
            ("MLflow run", origin["mlflow_run"] or "none"),
        ]
    if run:
        lines.append(("again", f"pfml rerun {record.study}/{record.name}"))
    width = max(len(label) for label, _ in lines)
    return "\n".join(f"{label:<{width}}  {text}" for label, text in lines)


def place_of(record: Record) -> Path:
    """Where the study of a run works: the project's root, or the working copy of its preset."""
    return Path(COPIES, record.preset) if record.preset else Path()


def one_each(found: Iterable[Record]) -> list[Record]:
    """The first record of each digest: studies share runs."""
    return _firsts(found, lambda record: record.digest)


def one_each_result(found: list[Record]) -> list[Record]:
    """The first record of each result, or of a digest without one.

    Two studies have two results of one digest if processors of two kinds trained them.
    """
    made = [record for record in found if record.result]
    known = {record.digest for record in made}
    others = [record for record in found if record.digest not in known]
    results = _firsts(made, lambda record: (record.digest, record.result.get("recall@1"), record.result.get("map@r")))
    return results + one_each(others)


def _firsts(found: Iterable[Record], key: Callable[[Record], Hashable]) -> list[Record]:
    first: dict[Hashable, Record] = {}
    for record in found:
        first.setdefault(key(record), record)
    return list(first.values())


def _there(path: Path) -> str:
    return str(path) if path.exists() else f"{path} (not here)"


def _fits(record: Record, text: str) -> bool:
    if text and text in (record.name, record.row, f"{record.study}/{record.name}"):
        return True
    starts = len(text) >= SHORTEST and re.fullmatch("[0-9a-f]+", text)
    return bool(starts) and (record.digest.startswith(text) or record.origin.get("mlflow_run", "").startswith(text))


def _results() -> dict[tuple[str, str], tuple[Path, dict]]:
    """(study, digest) -> result file and content; of a cross validation for each of its folds."""
    found = {}
    for path in sorted(Path("reports/runs").rglob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # the report names it
        if "digest" in result:
            found[result["study"], result["digest"]] = path, result
        for k in range(result.get("folds", 0)):
            own = {key.removeprefix(f"fold{k}_"): value for key, value in result.items() if key.startswith(f"fold{k}_")}
            if "digest" in own:
                found[result["study"], own["digest"]] = path, own | {"dataset_digest": result.get("dataset_digest", "")}
    return found


def _origins() -> dict[tuple[str, str], dict]:
    """(study, digest) -> its row in reports/provenance."""
    found = {}
    for path in sorted(PROVENANCE.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            found |= {(path.stem, row["digest"]): row for row in csv.DictReader(file)}
    return found


def _origin(origins: dict[tuple[str, str], dict], study: str, digest: str) -> dict:
    """Where a study's run was trained; a study that took it from the cache of another one has that one's row."""
    others = (row for (_, of), row in origins.items() if of == digest)
    return origins.get((study, digest)) or next(others, {})
