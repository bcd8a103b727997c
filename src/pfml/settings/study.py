"""The sections of params.yaml for the measurements beside the grid."""

import difflib
import math
from typing import Literal

from pydantic import field_validator, model_validator

from pfml.settings.values import Count, CountOrZero, Number, Section, one_of_each


class Wasserstein(Section):
    """Choices that Table 3 leaves open, named as in pfml.wasserstein.proxy_wasserstein."""

    mean: bool
    assignment: Literal["class", "nearest", "all"]
    normalize_proxies: bool
    embeddings: Literal["end", "epoch", "passing"]

    @property
    def name(self) -> str:
        """The measure in a word; the default is "reconstruction"."""
        words = [] if self.mean else ["sum"]
        words += [f"assignment {self.assignment}"] if self.assignment != "class" else []
        words += [] if self.normalize_proxies else ["raw proxies"]
        words += {"end": [], "epoch": ["batches of an epoch"], "passing": ["passing batches"]}[self.embeddings]
        return ", ".join(words) or "reconstruction"


class Memorisation(Section):
    """`every`: number of epochs between two measurements of how many wrong labels a run has fitted; 0: none."""

    every: CountOrZero


ABLATION_AXES = ("proxies_per_class", "alpha", "delta", "delta_gap")


class Ablation(Section):
    """PFML with one setting changed. `points` are strings "<axis>-<value>", such as alpha-4 or delta_gap-0.1."""

    noise: Number
    points: list[str]

    @model_validator(mode="before")
    @classmethod
    def _one_list(cls, raw):
        """Refuse the four lists of version 0.1, one for each axis."""
        for axis in ABLATION_AXES:
            if isinstance(raw, dict) and axis in raw:
                values = raw[axis] if isinstance(raw[axis], list) else [raw[axis]]
                points = ", ".join(f"{axis}-{value}" for value in values)
                raise ValueError(
                    f"ablation.{axis}: the four lists are one list now, each point once; expected "
                    f"ablation.points: [{points}], found {axis}: {raw[axis]}"
                )
        return raw

    @field_validator("points")
    @classmethod
    def _points(cls, points):
        for point in points:
            axis, value = parse_point(point)
            if f"{axis}-{value}" != point:  # files are named after the spelling
                raise ValueError(f"expected {axis}-{value}, found {point}")
        return one_of_each(points) if points else points

    def values(self, axis: str) -> list[int | float]:
        """The values of one of ABLATION_AXES, in the order of `points`."""
        return [value for name, value in map(parse_point, self.points) if name == axis]


def parse_point(point: str) -> tuple[str, int | float]:
    """alpha-4 -> ("alpha", 4).

    Raises:
        ValueError: an unknown axis, or no number after it.
    """
    axis, _, text = point.partition("-")
    if axis not in ABLATION_AXES:
        near = difflib.get_close_matches(axis, ABLATION_AXES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"expected <axis>-<value> with an axis of {', '.join(ABLATION_AXES)}, found {point!r}{hint}")
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if math.isfinite(value):
            return axis, value
    raise ValueError(f"expected a number behind {axis}-, found {point!r}")


class Complexity(Section):
    proxies_per_class: list[CountOrZero]
    baseline: list[str]
    steps: Count
    rounds: Count

    @field_validator("proxies_per_class", "baseline")
    @classmethod
    def _each_once(cls, values):
        return one_of_each(values) if values else values


class MLRC(Section):
    """The protocol of "A Metric Learning Reality Check": its methods train once per fold."""

    field: list[str]
    baseline: list[str]
    fold: list[CountOrZero]

    @field_validator("fold")
    @classmethod
    def _folds(cls, values):
        return one_of_each(values)

    @property
    def methods(self) -> list[str]:
        return self.field + self.baseline
