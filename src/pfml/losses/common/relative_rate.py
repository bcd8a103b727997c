"""A part of a loss that learns at another rate than proxy_lr, the one rate that an optimizer knows for a loss.

Its parameters are kept divided by the factor. Adam, AdamW and RMSprop step by about the rate whatever the gradient's
size, so what the parameters stand for moves by factor * proxy_lr; exactly so up to their epsilon, since losses have no
weight decay.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

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
