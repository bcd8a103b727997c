"""Numerical checks of the paper's statements about its field: Proposition 1, Corollary 1, Figures 1 and 2.

`fields` computes potentials and forces, `rest` moves free charges to rest, `proposition` and `corollary` check the two
statements, `survey` draws the random cases for these checks. These work on arrays and numbers, without files or
settings. `document` says in words and tables what the survey found.
"""

from pfml.theory.corollary import at_rest, compare, equilibrium, together
from pfml.theory.fields import DecayingLaw, GrowingLaw, attraction_field, class_field
from pfml.theory.proposition import (
    disjoint,
    guaranteed,
    guaranteed_radius,
    hardest_slope,
    has_minimum,
    nearest_distance,
    radial_radius,
    surface_slope,
)
from pfml.theory.rest import least_force, residual, settle, unrest
from pfml.theory.survey import Case, survey, wilson

__all__ = [
    "Case",
    "DecayingLaw",
    "GrowingLaw",
    "at_rest",
    "attraction_field",
    "class_field",
    "compare",
    "disjoint",
    "equilibrium",
    "guaranteed",
    "guaranteed_radius",
    "hardest_slope",
    "has_minimum",
    "least_force",
    "nearest_distance",
    "radial_radius",
    "residual",
    "settle",
    "surface_slope",
    "survey",
    "together",
    "unrest",
    "wilson",
]
