"""Which images make up each batch of an epoch.

Every draw comes from a generator seeded by (seed, epoch), never from a global state, so that the batches of an epoch
can be drawn again from any step on.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from torch import Tensor, from_numpy

SAMPLERS = ("random", "balanced", "m_per_class")


def epoch_batches(
    labels: Tensor, sampler: str, batch: int, steps: int, images_per_class: int, seed: int, epoch: int, start: int = 0
) -> Iterator[Tensor]:
    """Index tensors (batch,) int64 for steps `start`, `start` + 1, ... of an epoch of `steps` steps.

    `random`: shuffled passes over the data one after the other; a batch may span two. `balanced`: batch /
    images_per_class classes without repetition, images_per_class images of each. `m_per_class`: shuffled passes over
    the classes, so that each is seen equally often, as pytorch-metric-learning's MPerClassSampler without batch_size
    draws them; images_per_class images of each. A batch that spans two passes takes those classes first that it does
    not hold yet, so its classes are distinct unless the data has fewer than a batch needs. Images of a class repeat
    only in a class that has fewer than images_per_class.

    Args:
        labels: (n,) int64 of the training images, any numbers; classes without an image do not take part.
        start: batches to leave out, for a run that goes on in mid-epoch; the others stay the same.

    Raises:
        ValueError: unknown sampler; no images; a batch that is no multiple of images_per_class or, balanced, needs more
            classes than there are; start outside 0 to steps.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"train.sampler: expected one of {', '.join(SAMPLERS)}, found {sampler!r}")
    if not len(labels):
        raise ValueError("labels: expected at least one training image, found none")
    if batch < 1 or not 0 <= start <= steps:
        raise ValueError(f"expected batch from 1 and 0 <= start <= steps, found {batch}, {start} and {steps}")
    rng = np.random.Generator(np.random.Philox([seed, epoch]))
    if sampler == "random":
        return _random(rng, len(labels), batch, steps, start)
    if images_per_class < 1 or batch % images_per_class:
        raise ValueError(
            f"train.batch: sampler {sampler} needs a multiple of train.images_per_class ({images_per_class}), "
            f"found {batch}"
        )
    members, per_batch = _members(labels.numpy()), batch // images_per_class
    if sampler == "balanced" and len(members) < per_batch:
        raise ValueError(
            f"train.batch: a balanced batch of {batch} needs {per_batch} classes with {images_per_class} images each, "
            f"the training data has {len(members)} classes; lower train.batch or raise train.images_per_class"
        )
    # What came before `start` is drawn and dropped: the draws of a step begin where those of the step before end.
    draw = _balanced if sampler == "balanced" else _m_per_class
    return islice(draw(rng, members, per_batch, images_per_class), start, steps)


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """The rows of each class that has any, ascending; by one stable sort, however many classes there are."""
    ordered = np.argsort(labels, kind="stable")
    return np.split(ordered, np.flatnonzero(np.diff(labels[ordered])) + 1)


def _random(rng: np.random.Generator, n: int, batch: int, steps: int, start: int) -> Iterator[Tensor]:
    order = [rng.permutation(n) for _ in range(-(-steps * batch // n))]
    yield from from_numpy(np.concatenate([np.empty(0, np.int64), *order])[: steps * batch]).view(steps, batch)[start:]


def _balanced(rng: np.random.Generator, members: list[np.ndarray], per_batch: int, m: int) -> Iterator[Tensor]:
    while True:
        yield _images(rng, members, rng.choice(len(members), per_batch, replace=False), m)


def _m_per_class(rng: np.random.Generator, members: list[np.ndarray], per_batch: int, m: int) -> Iterator[Tensor]:
    ahead = np.empty(0, np.int64)
    while True:
        while len(ahead) < per_batch:
            ahead = np.append(ahead, _fresh_first(rng.permutation(len(members)), ahead, per_batch - len(ahead)))
        yield _images(rng, members, ahead[:per_batch], m)
        ahead = ahead[per_batch:]


def _fresh_first(order: np.ndarray, held: np.ndarray, room: int) -> np.ndarray:
    """`order` with its first `room` classes that are not held moved to the front."""
    front = order[~np.isin(order, held)][:room]
    return np.append(front, order[~np.isin(order, front)])


def _images(rng: np.random.Generator, members: list[np.ndarray], classes: np.ndarray, m: int) -> Tensor:
    picks = [rng.choice(members[c], m, replace=len(members[c]) < m) for c in classes]
    return from_numpy(np.concatenate(picks))
