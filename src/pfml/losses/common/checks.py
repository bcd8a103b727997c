"""Input checks of the losses: each message names the argument, what was found and what is expected."""

from __future__ import annotations

import operator
from collections.abc import Collection
from numbers import Real

import numpy as np
import torch
from torch import Tensor


def check_option(name: str, value: object, options: Collection[str]) -> None:
    if value not in options:
        raise ValueError(f"{name}={value!r} is not an option; expected one of {', '.join(map(str, options))}")


BOUNDS = {
    "above": (">", operator.gt),
    "at_least": (">=", operator.ge),
    "below": ("<", operator.lt),
    "at_most": ("<=", operator.le),
}


def check_number(name: str, value: float, **bounds: float) -> float:
    """A finite number within `bounds`: above, at_least, below, at_most."""
    good = isinstance(value, Real) and not isinstance(value, bool) and abs(value) < float("inf")
    return _within(name, value, value if good else None, "a finite number", bounds)


def check_count(name: str, value: int, **bounds: int) -> int:
    """A Python, numpy or torch integer within `bounds`, as a Python one."""
    try:
        count = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = None
    return _within(name, value, count, "an integer", bounds)


def _within(name: str, found: object, value: float | None, what: str, bounds: dict[str, float]) -> float:
    if value is None or not all(BOUNDS[key][1](value, bound) for key, bound in bounds.items()):
        wanted = " and ".join(f"{BOUNDS[key][0]} {bound:g}" for key, bound in bounds.items())
        raise ValueError(f"{name}={found!r}; expected {what} {wanted}".rstrip())
    return value


def check_radii(delta: float, delta_rep: float | None, eps: float) -> float:
    """The radius of repulsion, which is delta unless given; eps must be below it."""
    delta_rep = delta if delta_rep is None else delta_rep
    if eps >= delta_rep:
        raise ValueError(
            f"eps={eps:g} is not below delta_rep={delta_rep:g}; expected a smaller distance floor, else no pair repels"
        )
    return float(delta_rep)


def check_finite(name: str, values: Tensor) -> None:
    values = values.detach()
    if values.numel() and not all(torch.isfinite(end) for end in values.aminmax()):
        bad = ~torch.isfinite(values)
        where = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"{name}: {int(bad.sum())} values are NaN or infinite, the first at {where}; expected finite numbers (if "
            "training went well until now it has diverged: lower the learning rate, clip gradients, keep the loss in "
            "float32; else look at the images and at the network)"
        )


def check_nonzero(name: str, values: Tensor) -> None:
    zero = (values.detach() == 0).all(1).nonzero()[:, 0]
    if len(zero):
        raise ValueError(
            f"{name}: {len(zero)} rows are zero, the first is row {int(zero[0])}; expected vectors with a direction"
        )


def check_device(name: str, values: Tensor, other_name: str, other: Tensor) -> None:
    if values.device != other.device:
        raise ValueError(
            f"{name} are on {values.device}, {other_name} on {other.device}; expected one device: "
            f"loss.to({str(values.device)!r})"
        )


def check_batch(embeddings: Tensor, labels: Tensor, num_classes: int, embedding_dim: int, least: int) -> Tensor:
    """embeddings (B, D) finite floats, labels (B,) integers in [0, num_classes), B >= least.

    Args:
        labels: a tensor or numpy array of any integer type.

    Returns:
        the labels, int64 and on the embeddings' device.

    Raises:
        ValueError: names the argument, what was found and what is expected.
    """
    if not isinstance(embeddings, Tensor) or not embeddings.is_floating_point():
        found = embeddings.dtype if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise ValueError(f"embeddings are {found}; expected a floating point tensor (B, {embedding_dim})")
    if embeddings.dim() != 2 or embeddings.shape[1] != embedding_dim:
        raise ValueError(
            f"embeddings have shape {tuple(embeddings.shape)}; expected (B, {embedding_dim}): one flat vector an image"
        )
    labels = _integers(labels)
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}; expected ({len(embeddings)},), one for each embedding"
        )
    if len(embeddings) < least:
        raise ValueError(
            f"embeddings hold a batch of {len(embeddings)}; expected at least {least} "
            "(a DataLoader with drop_last=True leaves a small last batch out)"
        )
    if len(labels):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"labels lie in [{low}, {high}]; expected [0, {num_classes - 1}] (num_classes={num_classes}); "
                "number the classes from 0 "
                "(labels.unique(return_inverse=True)[1] of all training labels)"
            )
    check_finite("embeddings", embeddings)
    return labels.to(embeddings.device)


def _integers(labels: Tensor | np.ndarray) -> Tensor:
    """int64 from a tensor or numpy array of any integer type, where it lies."""
    if isinstance(labels, np.ndarray):
        good = labels.dtype.kind in "iu"
    else:
        good = isinstance(labels, Tensor) and not (
            labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool
        )
    if not good:
        found = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        found = f"{found} of {labels.dtype}" if isinstance(labels, np.ndarray) else found
        raise ValueError(
            f"labels are {found}; expected an integer tensor of shape (B,), such as torch.as_tensor(labels).long() "
            "(names of classes have to be numbered from 0)"
        )
    return torch.from_numpy(labels.astype(np.int64)) if isinstance(labels, np.ndarray) else labels.to(torch.int64)
