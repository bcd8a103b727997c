"""Turn a YAML file into typed objects, with one clear line for the first error."""

import difflib
import re
from collections.abc import Mapping

import yaml
from pydantic import ValidationError

from pfml.settings import ConfigError


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # in C: `make tables` reads 36 files with it
    """Reads floats as in YAML 1.2, which DVC writes: 1e-05 is a number, not a string."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+"), list("-+.0123456789")
)


def check(kind, raw: Mapping, where: str, path="params.yaml"):
    """`raw` as an object of model `kind`. ConfigError names the first key that does not fit."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error.errors()[0], where, raw, kind)}") from None


def _explain(error: dict, where: str, raw: Mapping, kind) -> str:
    location = [str(part) for part in error["loc"] if part not in ("int", "float")]
    key = ".".join(([where] if where else []) + location)
    if error["type"] == "extra_forbidden":
        siblings = _siblings(kind, error["loc"])
        near = difflib.get_close_matches(str(error["loc"][-1]), siblings, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{key}: unknown key{hint} (valid here: {', '.join(siblings)})"
    if error["type"] == "missing":
        return f"{key}: missing; expected a value"
    text = error["msg"].removeprefix("Value error, ")
    return f"{key or 'file'}: {text}" + ("" if error["type"] == "value_error" else f", found {error['input']!r}")


def _siblings(kind, loc) -> list[str]:
    for part in loc[:-1]:
        annotation = kind.model_fields[part].annotation if part in getattr(kind, "model_fields", {}) else kind
        kind = getattr(annotation, "__args__", [None, annotation])[-1]
    return list(kind.model_fields)
