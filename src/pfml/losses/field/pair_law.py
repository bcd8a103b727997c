"""What two points do to each other: the part in which the two losses of the paper differ."""

from __future__ import annotations

import math
from typing import Protocol

from torch import Tensor


class PairLaw(Protocol):
    """Two functions of d^2 that write the energy and its derivative with respect to d^2, elementwise.

    `attraction` is asked for d >= delta and is 0 inside; `repulsion` is asked for eps <= d <= delta_rep, is 0 beyond
    and constant below eps.
    """

    delta: float
    delta_rep: float
    eps: float
    form: str  # its name in pfml.losses.field.field_triton.FORMS

    def attraction(self, d2: Tensor, energy: Tensor, slope: Tensor) -> None: ...

    def repulsion(self, d2: Tensor, energy: Tensor, slope: Tensor) -> None: ...


def squared_radius(radius: float) -> float:
    """The smallest float64 t with sqrt(t) >= radius, so that d^2 < t means the same as d < radius."""
    t = radius * radius
    while math.sqrt(t) >= radius:
        t = math.nextafter(t, 0.0)
    while math.sqrt(t) < radius:
        t = math.nextafter(t, math.inf)
    return t
