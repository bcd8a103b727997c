"""Values that an argument of a loss must not have, made from its annotation."""

import inspect

from pfml.losses.common.ranges import Argument

STEP = 1e-9


def bad_values(argument: Argument, signature: inspect.Signature) -> list:
    """Just outside each bound (of a bound that is another argument: outside that one's default), and of other kinds."""
    if argument.options:
        return ["no such option", *([] if argument.optional else [None])]
    found = [float("nan"), float("inf"), True, "1", *([] if argument.optional else [None])]
    step = 1 if argument.kind is int else STEP
    for key, bound in argument.range.bounds.items():
        bound = signature.parameters[bound].default if isinstance(bound, str) else bound
        found.append({"above": bound, "at_least": bound - step, "below": bound, "at_most": bound + step}[key])
    return found + [2.5] * (argument.kind is int)
