"""What a training does for a method that is more than a loss (pfml.losses.common.method)."""

import itertools
from collections.abc import Iterator

from torch import Tensor

from pfml.losses.common.method import Method
from pfml.settings.run import Run
from pfml.training.batches.run_data import RunData
from pfml.training.batches.samplers import epoch_batches
from pfml.training.processes import Ranks

OTHER_VIEW = 1_000_003  # added to a run's seed for the draws of the second view
BEFORE = 1_000_000  # number of the epoch whose batches fill a memory before the first one


def fill_memory(method: Method, run: Run, data: RunData, ranks: Ranks) -> None:
    """Let a method remember the keys of augmented training images, in batches of the run's sampler."""
    steps = -(-method.remembered // run.train["batch"])
    batches = drawn(run, data, BEFORE, steps, 0) if steps else ()
    for batch, images in data.train.pictures.training(batches, run.seed, BEFORE, ranks.device, part=part_of(ranks)):
        method.remember(ranks.joined(method.keys(images).float(), len(batch)))


def epoch_images(
    method: Method, run: Run, data: RunData, ranks: Ranks, epoch: int, steps: int, start: int
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Indices, images and, for a method of two views, other views of the same images, for each step from `start` on."""
    labels, recipe = data.train.labels, run.train
    sizes = recipe["batch"], recipe["images_per_class"]
    batches = method.batches(labels, *sizes, steps, run.seed, epoch, start)
    batches = drawn(run, data, epoch, steps, start) if batches is None else batches
    pictures, where = data.train.pictures, {"start": start, "part": part_of(ranks)}
    if method.views == 1:
        for batch, images in pictures.training(batches, run.seed, epoch, ranks.device, **where):
            yield batch, images, None
        return
    batches, again = itertools.tee(batches)
    first = pictures.training(batches, run.seed, epoch, ranks.device, **where)
    second = pictures.training(again, run.seed + OTHER_VIEW, epoch, ranks.device, **where)
    for (batch, images), (_, others) in zip(first, second):
        yield batch, images, others


def drawn(run: Run, data: RunData, epoch: int, steps: int, start: int) -> Iterator[Tensor]:
    """The batches of the run's sampler."""
    recipe = run.train
    return epoch_batches(
        data.train.labels, recipe["sampler"], recipe["batch"], steps, recipe["images_per_class"], run.seed, epoch,
        start=start,
    )  # fmt: skip


def part_of(ranks: Ranks) -> tuple[int, int]:
    """The share of every batch that this process embeds, as (i, k)."""
    return ranks.rank, ranks.size
