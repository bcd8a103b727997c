"""Draw the images of each batch of an epoch.

Every draw comes from a generator seeded by (seed, epoch) and never from a global state, so that a resumed run can draw
the batches of an epoch again from any step on.
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

    `random`: shuffled passes over the data one after the other; a batch may span two.
    `balanced`: batch / images_per_class different classes, images_per_class images of each.
    `m_per_class`: shuffled passes over the classes, so that each is seen equally often, as in pytorch-metric-learning's
    MPerClassSampler without batch_size; images_per_class images of each. A batch that spans two passes first takes
    classes that it does not hold yet. Its classes are thus distinct unless the data has fewer than a batch needs.

    Images of a class repeat within a batch only if the class has fewer than images_per_class.

    Args:
        labels: (n,) int64 of the training images, any numbers.
        start: number of batches to skip, for a run that resumes within an epoch; the others stay the same.

    Raises:
        ValueError: unknown sampler; no images; a batch that is no multiple of images_per_class; too few classes for a
            balanced batch; start outside 0 to steps.
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
    # The batches before `start` are drawn and dropped, since a step's draws begin where the last step's draws end.
    draw = _balanced if sampler == "balanced" else _m_per_class
    return islice(draw(rng, members, per_batch, images_per_class), start, steps)


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """The rows of each class, ascending, by a single stable sort."""
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
