"""Types for the sections of params.yaml: numbers with a range, and a strict frozen base class."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Number = int | float


class Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def one_of_each(values: list, allowed=None) -> list:
    """The values, checked. ValueError for an empty list, a value listed twice, or a value that is not in `allowed`."""
    if not values:
        raise ValueError("expected at least one value, found an empty list")
    repeated = {repr(v) for v in values if values.count(v) > 1}
    if repeated:
        raise ValueError(f"expected each value once, found {', '.join(sorted(repeated))} twice")
    for value in values:
        if allowed is not None and value not in allowed:
            raise ValueError(f"unknown name {value!r}; expected one of: {', '.join(allowed)}")
    return values
