"""The result files below reports/runs: their keys, checked when a file is written and again when it is read."""

import json
import math
import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from pfml.settings.files import write_whole

# Measures, all fractions in [0, 1]: recall@1, best_recall@1, seen_map@r, concatenated_r_precision, few_shot_5, ...
FRACTION = re.compile(r"(best_|seen_|separated_|concatenated_)?(recall@\d+|map@r|r_precision)|nmi|few_shot_\d+")
MEASURES = ("recall@1", "r_precision", "map@r")  # of a fold; recall@1 is the P@1 of its protocol
FOLD_MEASURES = [(kind, name) for kind in ("separated", "concatenated") for name in MEASURES]


def _number(value):
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, found {value!r}")
    return value


def _fraction(value):
    if not 0 <= _number(value) <= 1:
        raise ValueError(f"expected a fraction in [0, 1], found {value!r} (percent?)")
    return value


Number = Annotated[float, BeforeValidator(_number)]
Fraction = Annotated[float, BeforeValidator(_fraction)]
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")]


class ResultFile(BaseModel):
    """One flat JSON object; further keys are allowed, and of those the measures are checked."""

    model_config = ConfigDict(strict=True, extra="allow")

    @model_validator(mode="after")
    def _further_measures(self):
        for key, value in self.model_extra.items():
            if FRACTION.fullmatch(key) and value is not None:
                try:
                    _fraction(value)
                except ValueError as error:
                    raise ValueError(f"{key}: {error}") from None
        return self


class RunResult(ResultFile):
    """A trained run, measured on the test half at its selected epoch. `run` is the run's name; recall@K has a key for
    each K; weights is the digest of the network's. A run with proxies has proxies_per_class, and w2 (Table 3) as
    w2_measure says. A run with a frozen trunk has start_distance and end_distance, the mean distance between training
    images of different classes before and after training. Keys with a default were added later, and older files lack
    them. A title heads a measure's column. Where and when it was trained stands in reports/provenance.
    """

    study: str
    run: str
    dataset: str
    backbone: str
    dim: int
    method: str
    noise: Number
    seed: int
    axis: str
    value: Number | None
    digest: Digest
    recall_at_1: Fraction = Field(alias="recall@1", title="R@1")
    map_at_r: Fraction | None = Field(alias="map@r", title="MAP@R")
    r_precision: Fraction | None = Field(title="R-Prec.")
    nmi: Fraction | None = Field(title="NMI")
    seen_recall_at_1: Fraction | None = Field(None, alias="seen_recall@1", title="R@1, seen classes")
    seen_map_at_r: Fraction | None = Field(None, alias="seen_map@r", title="MAP@R, seen")
    few_shot_1: Fraction | None = Field(None, title="5-way 1-shot")
    few_shot_5: Fraction | None = Field(None, title="5-way 5-shot")
    w2: Number | None = None
    w2_relative: Number | None = None
    best_recall_at_1: Fraction | None = Field(alias="best_recall@1", title="best R@1")
    best_epoch: int | None
    epochs: int | None
    selected_epoch: int | None = None
    dataset_digest: str | None
    weights: Digest | None = None
    proxies_per_class: int | None = None
    w2_measure: str | None = None
    start_distance: Number | None = None
    end_distance: Number | None = None


class FoldsResult(ResultFile):
    """A cross validation: separated_* are means over the folds' networks, concatenated_* of their joined embeddings,
    fold<k>_* what is known of fold k alone.
    """

    study: str
    dataset: str
    method: str
    folds: int = Field(ge=2)
    dataset_digest: str

    @model_validator(mode="after")
    def _every_fold_and_measure(self):
        for key in [f"{kind}_{name}" for kind, name in FOLD_MEASURES]:
            if self.model_extra.get(key) is None:
                raise ValueError(f"{key}: expected a fraction in [0, 1], found {self.model_extra.get(key)!r}")
        for key in [f"fold{k}_digest" for k in range(self.folds)]:
            if not isinstance(self.model_extra.get(key), str):
                raise ValueError(f"{key}: expected text, found {self.model_extra.get(key)!r}")
        return self


def keys_of(kind: type[ResultFile]) -> dict[str, str | None]:
    """Key in the file -> title of the measure, None where it is not one; in the order of the model."""
    return {field.alias or name: field.title for name, field in kind.model_fields.items()}


def write_result(path: Path, kind: type[ResultFile], result: dict) -> None:
    """Write a result whose keys are those of its kind.

    Raises:
        ValueError: a key is missing or has no such value; names it.
    """
    check_result(path, kind, result)
    write_whole(path, json.dumps(result, indent=1) + "\n")


def read_result(path: Path, kind: type[ResultFile]) -> dict:
    """The content of a result file.

    Raises:
        ValueError: not JSON, or a key is missing or has no such value; names file and key.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable JSON file ({error}); remove it and evaluate the run again") from None
    check_result(path, kind, result)
    return result


def check_result(path: Path, kind: type[ResultFile], result: dict) -> None:
    try:
        kind.model_validate(result)
    except ValidationError as error:
        first = error.errors()[0]
        key = f"{first['loc'][0]}: " if first["loc"] else ""
        text = "missing" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        found = "" if first["type"] in ("missing", "value_error") else f", found {first['input']!r}"
        raise ValueError(f"{path}: {key}{text}{found}; remove it and evaluate the run again") from None
