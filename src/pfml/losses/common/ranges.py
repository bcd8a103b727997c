"""What the arguments of a loss may be, said once, in the annotations of its constructor.

`checked` refuses all else where the loss is built; pfml.settings.losses makes the section of params.yaml from the same
annotations. An argument is one of

    Positive, NonNegative, Fraction, Annotated[float, Range(...)], float    a finite number
    Count, CountOrZero, Annotated[int, Range(...)]                          a whole number
    bool, Literal["semihard", "hard"]                                       one of the options

each alone or `| None`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

from pfml.losses.common.checks import check_count, check_number, check_option


@dataclass(frozen=True)
class Range:
    """Bounds of a number; a bound is a number, or the name of an earlier argument whose value it is."""

    above: float | str | None = None
    at_least: float | str | None = None
    below: float | str | None = None
    at_most: float | str | None = None

    @property
    def bounds(self) -> dict[str, float | str]:
        """The bounds that there are: "above" -> 0."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: bound for key, bound in given.items() if bound is not None}


Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(at_least=0)]
Fraction = Annotated[float, Range(at_least=0, below=1)]
Count = Annotated[int, Range(at_least=1)]
CountOrZero = Annotated[int, Range(at_least=0)]


@dataclass(frozen=True)
class Argument:
    """What one argument may be.

    kind: int, float, or type(None) where `options` lists the values. optional: None is a value too.
    """

    kind: type
    range: Range = Range()
    options: tuple = ()
    optional: bool = False

    @classmethod
    def of(cls, hint) -> Argument:
        """From its annotation.

        Raises:
            TypeError: an annotation of another form.
        """
        if get_origin(hint) in (Union, UnionType):
            inner = [one for one in get_args(hint) if one is not type(None)]
            if len(inner) == 1:
                return cls(**vars(cls.of(inner[0])) | {"optional": True})
        if hint is bool:
            return cls(type(None), options=(True, False))
        if get_origin(hint) is Literal:
            return cls(type(None), options=get_args(hint))
        base, *more = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if base in (int, float) and all(isinstance(one, Range) for one in more) and len(more) < 2:
            return cls(base, *more)
        raise TypeError(f"{hint!r}; expected an annotation that pfml.losses.common.ranges lists")

    def check(self, name: str, value, others: Mapping):
        """The value, a whole number as a Python one.

        Args:
            others: values of the arguments that bounds may name.

        Raises:
            ValueError: a value that the annotation excludes; names the argument.
        """
        if value is None and self.optional:
            return None
        if self.options:
            check_option(name, value, self.options)
            return value
        check = check_count if self.kind is int else check_number
        bounds = {key: others[one] if isinstance(one, str) else one for key, one in self.range.bounds.items()}
        return check(name, value, **bounds)


def arguments(build: Callable) -> dict[str, Argument]:
    """Every argument of a loss, class or function, by name."""
    function = build.__init__ if inspect.isclass(build) else build
    hints = get_type_hints(function, include_extras=True)
    return {name: Argument.of(hints[name]) for name in inspect.signature(build).parameters}


def settings_of(build: Callable) -> dict[str, Argument]:
    """The arguments that params.yaml sets: all but the two sizes and those that the loss lists as `not_settings`."""
    left_out = ("num_classes", "embedding_dim", *getattr(build, "not_settings", ()))
    return {name: one for name, one in arguments(build).items() if name not in left_out}


def checked(build: Callable) -> Callable:
    """A builder of losses, or a loss's `__init__`, that refuses what its annotations exclude.

    Raises (where it is called):
        ValueError: names the argument, what was found and what is expected.
    """
    signature, hints = inspect.signature(build), get_type_hints(build, include_extras=True)
    known = {name: Argument.of(hints[name]) for name in signature.parameters if name != "self"}

    @functools.wraps(build)
    def call(*args, **kwargs):
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        for name, argument in known.items():
            given.arguments[name] = argument.check(name, given.arguments[name], given.arguments)
        return build(*given.args, **given.kwargs)

    return call
