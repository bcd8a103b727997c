"""Section `theory`; names and meanings of its settings are those of pfml.theory."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from pfml.settings.losses import Radius
from pfml.settings.values import Count, CountOrZero, NonNegative, Positive, Section, one_of_each


class TheoryCase(Section):
    """A case of pfml.theory.Case: one class of embeddings and its proxies."""

    embeddings: Count
    proxies: Count
    dimension: Annotated[int, Field(ge=2)]
    groups: Count
    spread: NonNegative
    start: Positive
    alpha: NonNegative
    delta: Radius

    @model_validator(mode="after")
    def _there_is_room(self):
        for name in ("proxies", "groups"):
            if getattr(self, name) > self.embeddings:
                raise ValueError(
                    f"{name}: expected at most the {self.embeddings} embeddings, found {getattr(self, name)}"
                )
        if self.spread == 0 and self.groups < self.embeddings:
            raise ValueError(
                f"spread: 0 puts the {self.embeddings} embeddings of {self.groups} groups in one place each"
            )
        return self


class Theory(Section):
    """Settings of pfml.theory.survey. `pfml.settings.load` checks each change merged into `base`."""

    seed: CountOrZero
    sets: Count
    trials: Count
    trials_small: Count
    base: TheoryCase
    changes: list[dict]
    radii: list[Radius]
    alphas: list[NonNegative]

    @field_validator("base")
    @classmethod
    def _has_neighbors(cls, base):
        if base.embeddings < 2:
            raise ValueError("embeddings: expected at least 2 in the base case, found 1")
        return base

    @field_validator("radii", "alphas")
    @classmethod
    def _axis(cls, values):
        return one_of_each(values)
