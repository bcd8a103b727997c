"""What a loss asks of the batches: those that learn from pairs of one class need such pairs in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def check_sampler(
    name: str,
    loss: Callable,
    sampler: str,
    batch: int,
    images_per_class: int,
    class_sizes: Sequence[int] | None = None,
) -> None:
    """Refuse a sampler whose batches a loss cannot learn from.

    Args:
        name: of the loss, for messages.
        loss: its class or builder, which says whether it needs `pairs` and its `least` batch (common.describe).
        sampler: random, balanced or m_per_class (pfml.training.batches.samplers).
        batch: images in a batch.
        images_per_class: of the balanced samplers.
        class_sizes: images of each training class; with the random sampler it tells how many pairs of one class a
            batch holds on average, of which there must be one. Without it the random sampler passes.

    Raises:
        ValueError: batches without pairs of one class for a loss that needs them, or smaller than its smallest.
    """
    if batch < loss.least:
        raise ValueError(f"train.batch: {name!r} needs at least {loss.least} images, found {batch}")
    if not loss.pairs:
        return
    if sampler == "random":
        if class_sizes is None or _pairs(batch, class_sizes) >= 1:
            return
        raise ValueError(
            f"train.sampler: {name!r} learns from pairs of one class, of which a random batch of {batch} holds "
            f"{_pairs(batch, class_sizes):.2g} on average; take sampler balanced or m_per_class with "
            "train.images_per_class from 2, or a larger batch"
        )
    if min(images_per_class, batch) < 2:
        key, found = ("images_per_class", images_per_class) if images_per_class < 2 else ("batch", batch)
        raise ValueError(f"train.{key}: {name!r} learns from pairs of one class; expected at least 2, found {found}")
    if class_sizes is not None and max(class_sizes, default=0) < 2:
        raise ValueError(
            f"data: {name!r} learns from pairs of one class, and every training class has one image; "
            "take a loss with proxies"
        )


def _pairs(batch: int, class_sizes: Sequence[int]) -> float:
    """Mean number of pairs of one class among `batch` images drawn without repetition."""
    total = sum(class_sizes)
    same = sum(size * (size - 1) for size in class_sizes)
    return batch * (batch - 1) / 2 * same / max(1, total * (total - 1))
