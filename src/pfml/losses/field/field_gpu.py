"""The GPU kernel on probation: used where it starts, and only as long as it agrees with the torch code.

The 1st, 10th, 100th, ... sum of each kind of problem is formed both ways. A kernel that does not start on this GPU,
or whose sum differs, is left for good, with a warning. A sum that passes is the kernel's own, so a run gives the
same bits wherever its checks fall.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

ByTorch = Callable[[Tensor], Tensor]
AGREEMENT = 1e-3  # relative, of energy and gradient
_uses: Counter = Counter()  # sums formed by the kernel, by kind of problem
_given_up = False  # once, and not tried again


def fused(points: Tensor, classes: Tensor, law, grad: Tensor, *rest, by_torch: ByTorch) -> Tensor | None:
    """The energy by one kernel, where there is a GPU with Triton and the points suit it; takes what add_field takes.

    None elsewhere, with PFML_TRITON=0 in the environment, and, with a warning, where the kernel does not start or
    disagrees with `by_torch`, which is given `grad`, adds half of its gradient to it and returns the energy. `grad`
    comes zero and is left so by None.
    """
    global _given_up
    wanted = points.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"
    if not wanted or _given_up or os.environ.get("PFML_TRITON") == "0":
        return None
    try:
        from pfml.losses.field import field_triton

        if not field_triton.fits(points):
            return None
        energy = field_triton.add_field(points, classes, law, grad, *rest)
        _, attraction, repulsion, _ = rest
        kind = points.device, points.shape[1], law.form, attraction, repulsion
        _uses[kind] += 1
        if math.log10(_uses[kind]).is_integer():
            _check(energy, grad, by_torch)
        return energy
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the compiler, the driver or a missing Triton says
        _given_up = True
        warnings.warn(
            f"the field loss goes on without its GPU kernel, slower: {type(error).__name__}: {error} "
            "(PFML_TRITON=0 in the environment silences this)",
            RuntimeWarning,
            stacklevel=2,
        )
        grad.zero_()
        return None


def _check(energy: Tensor, grad: Tensor, by_torch: ByTorch) -> None:
    """Leave `grad` as it is; without the memory for a second sum, nothing is checked.

    Raises:
        ArithmeticError: the torch code gives another energy or gradient; the message has both differences.
    """
    found = grad.clone()
    try:
        expected = by_torch(grad.zero_())
        off = [_relative_error(energy, expected), _relative_error(found, grad)]
    except torch.OutOfMemoryError:
        off = [0.0]
    grad.copy_(found)
    if not max(off) <= AGREEMENT:  # as NaN is not
        raise ArithmeticError("its energy and gradient differ from the torch code's by {:.0e} and {:.0e}".format(*off))


def _relative_error(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|; 0 where both are 0."""
    error = float(torch.linalg.vector_norm(found - expected))
    return error / float(torch.linalg.vector_norm(expected).clamp(min=torch.finfo(expected.dtype).tiny))
