"""`tune`: which settings of a method may move in its search, how far, and how many trials it has (docs/tuning.md)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pfml.setting_types import Count, CountOrZero, Number, Section, one_of_each


class Range(Section):
    """Numbers from low to high, drawn evenly or (log) evenly in the logarithm; whole ones where both ends are."""

    low: Number
    high: Number
    log: bool = False
    start: Number

    @model_validator(mode="after")
    def _in_order(self):
        if not self.low < self.high:
            raise ValueError(f"expected low < high, found {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: expected low > 0, found {self.low}")
        if not self.low <= self.start <= self.high:
            raise ValueError(f"start: expected a number from {self.low} to {self.high}, found {self.start}")
        return self


class Choice(Section):
    """One of the values of a list."""

    choices: Annotated[list[bool | int | float | str], Field(min_length=2)]
    start: bool | int | float | str

    @model_validator(mode="after")
    def _start_is_one(self):
        one_of_each(self.choices)
        if self.start not in self.choices:
            raise ValueError(f"start: expected one of {self.choices}, found {self.start!r}")
        return self


Dimension = Range | Choice
ENDS = (  # of a dimension, for checks
    lambda one: one.choices[0] if isinstance(one, Choice) else one.low,
    lambda one: one.choices[-1] if isinstance(one, Choice) else one.high,
)


class Space(Section):
    """What may move in the methods that it names."""

    method: list[str]
    loss: dict[str, Dimension] = Field(default_factory=dict)
    train: dict[str, Dimension] = Field(default_factory=dict)


class Tune(Section):
    method: list[str]
    trials: Count
    noise: list[Number]
    seed: CountOrZero
    precision: Literal["float32", "bfloat16", "float16"]
    space: list[Space]

    @model_validator(mode="after")
    def _each_once(self):
        one_of_each(self.noise)
        if self.method:
            one_of_each(self.method)
        for method in self.method:
            if not self.space_of(method):
                raise ValueError(f"method: {method!r} is in no entry of tune.space, so nothing of it may move")
        return self

    def space_of(self, method: str) -> dict[str, Dimension]:
        """section.key -> its range, over all entries that name the method; a later entry replaces a key."""
        found: dict[str, Dimension] = {}
        for entry in self.space:
            if method in entry.method:
                found |= {f"loss.{key}": value for key, value in entry.loss.items()}
                found |= {f"train.{key}": value for key, value in entry.train.items()}
        return found
