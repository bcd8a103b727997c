"""What the measures take: each message names the argument, what was expected and what was found."""

import numpy as np
import torch
from torch import Tensor


def checked(embeddings, labels) -> tuple[Tensor, Tensor]:
    """Embeddings (n, D) of `points`, and labels (n,) int64 on their device; n from 2.

    Raises:
        ValueError: another kind or shape.
    """
    embeddings, labels = numbers("embeddings", embeddings), integers("labels", labels)
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        found = f"{tuple(embeddings.shape)}, {tuple(labels.shape)}"
        raise ValueError(f"embeddings, labels: expected shapes (n, D) and (n,), found {found}")
    if len(labels) < 2:
        raise ValueError(f"embeddings: expected at least 2 points, found {len(labels)}")
    return points(embeddings), labels.to(embeddings.device)


def points(embeddings) -> Tensor:
    """(n, D) finite real numbers of any precision, without gradient: on their GPU, else on the CPU.

    Raises:
        ValueError: another kind or shape.
    """
    embeddings = numbers("embeddings", embeddings)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings: expected shape (n, D), found {tuple(embeddings.shape)}")
    if not embeddings.isfinite().all():
        raise ValueError("embeddings: expected finite values, found NaN or infinity")
    return embeddings


def numbers(name: str, values) -> Tensor:
    """Real numbers of any shape, without gradient: on their GPU, else on the CPU (other devices may lack float64).

    Raises:
        ValueError: no tensor, array or nested list of real numbers.
    """
    values = _tensor(name, values, "numbers", "fiub").detach()
    if values.is_complex():
        raise ValueError(f"{name}: expected real numbers, found {values.dtype}")
    return values if values.is_cuda else values.cpu()


def integers(name: str, values) -> Tensor:
    """int64 of any integer type, where it lies.

    Raises:
        ValueError: no tensor, array or nested list of integers.
    """
    values = _tensor(name, values, "integers", "iub").detach()
    if values.is_floating_point() or values.is_complex():
        raise ValueError(f"{name}: expected integers, found {values.dtype}")
    return values.long()


def rows_of(name: str, rows, among: Tensor) -> Tensor:
    """(q,) int64, numbers of rows of `among`, on its device.

    Raises:
        ValueError: no vector of integers, a mask of booleans, or a number that is no row.
    """
    if getattr(rows, "dtype", None) in (torch.bool, np.dtype(bool)):
        raise ValueError(f"{name}: expected numbers of points, found a mask; give its nonzero()")
    rows = integers(name, rows)
    if rows.ndim != 1:
        raise ValueError(f"{name}: expected shape (q,), found {tuple(rows.shape)}")
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(among):
        found = f"{int(rows.min())} to {int(rows.max())}"
        raise ValueError(f"{name}: expected numbers of points, 0 to {len(among) - 1}, found {found}")
    return rows.to(among.device)


def _tensor(name: str, values, what: str, kinds: str) -> Tensor:
    """A tensor as it is, else an array or a list of `what`, which are numpy's `kinds`, as a tensor."""
    if isinstance(values, Tensor):
        return values
    kind = type(values).__name__
    if hasattr(values, "to_numpy"):
        raise ValueError(f"{name}: expected a tensor or an array of {what}, found a {kind}; give its .to_numpy()")
    if isinstance(values, list | tuple) and any(isinstance(part, Tensor) for part in values):
        raise ValueError(f"{name}: expected one tensor or array, found a {kind} of tensors; join them with torch.cat")
    try:
        array = np.asarray(values)
    except Exception as error:  # rows of unlike lengths, and whatever an object's own conversion raises
        raise ValueError(f"{name}: expected a tensor or an array of {what}, found a {kind}: {error}") from None
    if array.dtype.kind == "c":
        raise ValueError(f"{name}: expected real numbers, found {array.dtype}")
    if array.dtype.kind not in kinds or array.dtype.itemsize > 8:
        hint = "; number the classes from 0" if what == "integers" and array.dtype.kind in "OSU" else ""
        raise ValueError(f"{name}: expected {what}, found a {kind} of {array.dtype}{hint}")
    if isinstance(values, list | tuple):
        return torch.as_tensor(values, device="cpu")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(native if all(step >= 0 for step in native.strides) else native.copy())
