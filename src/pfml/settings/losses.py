"""The settings of every loss: a strict class each, made from the annotations of the loss's own constructor."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, create_model, model_validator

from pfml.losses import BASELINES, FIELDS, LOSSES, Lazy
from pfml.losses.common.checks import BOUNDS
from pfml.losses.common.ranges import Argument, settings_of
from pfml.settings.values import Section

EPS = 1e-3  # distance floor of the field losses, which is no setting: radii must be above it
Radius = Annotated[float, Field(gt=EPS, allow_inf_nan=False)]
RADII = {"delta": Radius, "delta_rep": Radius | Literal["auto"] | None}  # auto: from the embeddings at the start
SHARED = (  # by PFML and CPML; tables list them first, in this order
    "proxies_per_class", "delta", "delta_rep", "reduction", "proxy_init", "proxy_proxy", "normalize_proxies",
    "absent_proxies",
)  # fmt: skip
BOUND_WORDS = {  # of a Range: pydantic's and ours
    "above": ("gt", "more than"), "at_least": ("ge", "at least"), "below": ("lt", "less than"),
    "at_most": ("le", "at most"),
}  # fmt: skip


def derived(name: str, first: Sequence[str] = (), types: Mapping = {}, defaults: Mapping = {}) -> type[Section]:
    """The settings of a loss, all of them needed.

    Args:
        first: keys that come before the others. types: of single keys, instead of the loss's own. defaults: of keys
            that may be left out.
    """
    arguments = settings_of(LOSSES[name])
    arguments = {key: arguments[key] for key in dict.fromkeys((*first, *arguments))}
    kinds = {key: _type(argument) for key, argument in arguments.items()} | dict(types)
    between = [
        (key, bound, other)
        for key, argument in arguments.items()
        for bound, other in argument.range.bounds.items()
        if isinstance(other, str)
    ]

    def in_order(self):
        """Bounds that are another setting, such as upper_cutoff > cutoff."""
        for key, bound, other in between:
            found, limit = getattr(self, key), getattr(self, other)
            if not BOUNDS[bound][1](found, limit):
                raise ValueError(f"{key}: expected {BOUND_WORDS[bound][1]} {other} {limit}, found {found}")
        return self

    return create_model(
        name, __base__=Section, __validators__={"in_order": model_validator(mode="after")(in_order)},
        **{key: (kind, defaults.get(key, ...)) for key, kind in kinds.items()},
    )  # fmt: skip


def _type(argument: Argument):
    """What pydantic reads for an argument."""
    if argument.options:
        kind = bool if argument.options == (True, False) else Literal[argument.options]
    else:
        bounds = {BOUND_WORDS[key][0]: one for key, one in argument.range.bounds.items() if not isinstance(one, str)}
        kind = Annotated[argument.kind, Field(**bounds, **{"allow_inf_nan": False} if argument.kind is float else {})]
    return kind | None if argument.optional else kind


FieldLoss = derived("pfml", SHARED, RADII)
ContrastiveFieldLoss = derived("cpml", SHARED, RADII, {"repulsion": "squared_hinge"})
LOSS_SETTINGS = Lazy(LOSSES, lambda name: {"pfml": FieldLoss, "cpml": ContrastiveFieldLoss}.get(name) or derived(name))

__all__ = ["BASELINES", "FIELDS", "LOSS_SETTINGS", "ContrastiveFieldLoss", "FieldLoss", "Radius"]
