"""A part of a loss that learns at another rate than proxy_lr, the one rate that an optimizer knows for a loss.

Its parameters are kept divided by the factor. Adam, AdamW and RMSprop step by about the rate whatever the gradient's
size, so what the parameters stand for moves by factor * proxy_lr; exactly so up to their epsilon, since losses have no
weight decay.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization, type_before_parametrizations

from pfml.losses.common.checks import check_number


class _Times(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, kept: Tensor) -> Tensor:
        return kept * self.factor

    def right_inverse(self, value: Tensor) -> Tensor:
        return value / self.factor


def learn_at(module: nn.Module, factor: float, name: str) -> None:
    """Every parameter of `module` and its parts learns at factor * proxy_lr; `name` is the setting in error messages.

    Raises:
        ValueError: a factor that is not above 0.
    """
    check_number(name, factor, above=0)
    for part in list(module.modules()):
        for key, _ in list(part.named_parameters(recurse=False)):
            register_parametrization(part, key, _Times(factor))
            type(part).__reduce__ = _reduce


# --- torch refuses to pickle a part with parametrizations, since its class exists in this process alone.


def _reduce(part: nn.Module) -> tuple:
    """The part as it was before, and what it kept: (name of a parameter, what is kept of it, factor) each."""
    kept = [(key, one.original, one[0].factor) for key, one in part.parametrizations.items()]
    modules = {name: module for name, module in part._modules.items() if name != "parametrizations"}
    state = part.__dict__ | {"_modules": modules}
    return _restore, (type_before_parametrizations(part), state, kept)


def _restore(kind: type, state: dict, kept: list[tuple[str, nn.Parameter, float]]) -> nn.Module:
    part = kind.__new__(kind)
    part.__dict__.update(state)
    part._parameters = dict(part._parameters)
    for key, original, factor in kept:
        part._parameters[key] = nn.Parameter(original.detach().clone(), original.requires_grad)
        register_parametrization(part, key, _Times(factor))
        part.parametrizations[key].original = original  # as it was, to the bit
    type(part).__reduce__ = _reduce
    return part
