"""Section `tune`: the settings that a method's search changes, their ranges, the number of trials (docs/tuning.md)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pfml.settings.values import Count, CountOrZero, Number, Section, one_of_each


class Range(Section):
    """Numbers from low to high, drawn evenly, or with `log` evenly in the logarithm; integers if both ends are.

    A number drawn below the setting `at_least` of the same section is raised to it.
    """

    low: Number
    high: Number
    log: bool = False
    start: Number
    at_least: str | None = None

    @model_validator(mode="after")
    def _in_order(self):
        if not self.low < self.high:
            raise ValueError(f"expected low < high, found {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: expected low > 0, found {self.low}")
        if isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.start, int):
            raise ValueError(f"start: expected a whole number, as low and high are, found {self.start}")
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
FIXED = ("hold_out", "select", "precision", "eval_every")  # settings of `train` that `trial_run` sets itself


def corners(dimension: Dimension) -> list:
    """Values for a check of the whole dimension: every choice, or both ends."""
    return list(dimension.choices) if isinstance(dimension, Choice) else [dimension.low, dimension.high]


def bounds(space: dict[str, Dimension]) -> dict[str, str]:
    """section.key -> section.key of the setting that it must not be below, where it has one."""
    lower = {key: getattr(dimension, "at_least", None) for key, dimension in space.items()}
    return {key: f"{key.split('.')[0]}.{name}" for key, name in lower.items() if name}


class Space(Section):
    """Ranges of settings for the methods in `method`."""

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
        for entry in self.space:
            moved = [key for key in entry.train if key in FIXED]
            if moved:
                raise ValueError(f"space: train.{moved[0]} cannot move: every trial has its own rule for it")
        for method in self.method:
            space = self.space_of(method)
            if not space:
                raise ValueError(f"method: {method!r} is in no entry of tune.space, so nothing of it may move")
            for key, lower in bounds(space).items():
                if lower not in space:
                    raise ValueError(
                        f"space: {key} of {method}: at_least: expected a setting that moves, found {lower}"
                    )
                if not (space[key].start >= space[lower].start and space[key].high >= space[lower].high):
                    raise ValueError(f"space: {key} of {method}: expected start and high of at least those of {lower}")
        return self

    def space_of(self, method: str) -> dict[str, Dimension]:
        """section.key -> range, from all entries that name the method; later entries override earlier ones."""
        ranges: dict[str, Dimension] = {}
        for entry in self.space:
            if method in entry.method:
                ranges |= {f"loss.{key}": value for key, value in entry.loss.items()}
                ranges |= {f"train.{key}": value for key, value in entry.train.items()}
        return dict(sorted(ranges.items()))
