"""What every loss does with a batch before it computes: check it, and compute in float32 whatever the network ran in.

`common.describe.baseline` puts it around the `forward` of a class; losses of the library have it in `LibraryLoss`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pfml.losses.common.checks import check_batch


def on_checked_batch(least: int = 1) -> Callable:
    """Decorator of the `forward` of a loss with the attribute `sizes`, (number of classes, D).

    The loss gets embeddings (B, D) of float32, or float64 where they or its parameters are so, and labels (B,) of int64
    on their device. Autocast is off inside, so that nothing is computed, and no parameter is kept, in half precision.

    Args:
        least: images in the smallest batch.

    Raises (where the loss is called):
        ValueError: what `check_batch` refuses, or a loss in another precision than it can compute in.
    """

    def around(forward: Callable) -> Callable:
        @functools.wraps(forward)
        def run(self, embeddings, labels, *more, **named):
            labels = check_batch(embeddings, labels, *self.sizes, least)
            embeddings = widened(embeddings, self)
            with torch.autocast(embeddings.device.type, enabled=False):
                return forward(self, embeddings, labels, *more, **named)

        return run

    return around


def widened(embeddings: Tensor, loss: nn.Module) -> Tensor:
    """The embeddings in the precision in which `loss` computes; float32 and float64 that fit stay as they are.

    Raises:
        ValueError: a loss in half precision, or a loss in float32 for embeddings in float64.
    """
    wide = embeddings if embeddings.dtype in (torch.float32, torch.float64) else embeddings.float()
    own = _precision(loss)
    if own is None or wide.dtype == own:
        return wide
    if own != torch.float64:
        cast = "double" if wide.dtype == torch.float64 else "float"
        raise ValueError(
            f"embeddings are {embeddings.dtype}, and the loss's own numbers {own}; expected a loss in {wide.dtype}: "
            f"loss.{cast}()"
        )
    return wide.double()


def _precision(loss: nn.Module) -> torch.dtype | None:
    """Of the first parameter, else of the first buffer that is no integer; None for a loss that has neither."""
    for values in (loss.parameters(), loss.buffers()):
        for value in values:
            if value.is_floating_point():
                return value.dtype
    return None
