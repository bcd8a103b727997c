"""Batches of normalised network input, with random crops for training or in order for evaluation.

There are two sources with one interface: a pack, which threads decode and crop ahead of the training, and a tensor in
memory. `len()` is the number of pictures, `side` the network's input in pixels. Indices in batches count from 0 among
the pictures.

This is no torch Dataset and DataLoader, because the draws of a picture must depend on (seed, epoch, step) alone: a run
that resumes within an epoch then gives the same bits, with any number of threads.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pfml.images.decode import resized
from pfml.images.packed import PackedImages, read_items
from pfml.images.threads import default_threads, ordered
from pfml.training.batches.buffers import Buffers
from pfml.training.batches.crops import cut, padded, resample, resized_crop
from pfml.training.batches.transforms import Transform, center_boxes, flips, normalize, random_boxes, shifted, shifts

RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class PackedPictures:
    """Pictures of a pack through a transform with a size.

    Evaluation resizes with Pillow as `pack` does, and only if the short side differs. An exact pack and a fast one of
    short side transform.resize thus give the same evaluation pixels, bit for bit, with bilinear presets (fast packs are
    bilinear). A fast pack of another short side is resized once more.

    Args:
        images: a pack or its folder.
        items: (n,) integers, rows of the pack.
        threads: number of threads that decode and crop; default one per processor, at most 8. The results do not depend
            on it.

    Raises:
        ValueError: no pack; rows outside the pack; a transform without a size; a fast pack smaller than that size.
    """

    def __init__(
        self, images: PackedImages | str | Path, items: np.ndarray, transform: Transform, threads: int | None = None
    ):
        self.images = images if isinstance(images, PackedImages) else PackedImages(images)
        self.items, self.transform = np.asarray(items, dtype=np.int64), transform
        self.threads, self.buffers, self.side = threads or default_threads(), Buffers(), transform.size
        name = self.images.meta["name"]
        if len(self.items) and not 0 <= self.items.min() <= self.items.max() < len(self.images):
            raise ValueError(f"items: expected rows 0 to {len(self.images) - 1} of {name}, found {self.items.max()}")
        if transform.size is None:
            raise ValueError("transform: expected one with a size, because the images of a pack differ in theirs")
        if self.images.mode == "fast":
            short_side, extents = self.images.meta["short_side"], self.images.index[:, 1:]
            if short_side < transform.size:
                raise ValueError(
                    f"dataset.{name}.short_side: expected at least the {transform.size} pixels of the network's input, "
                    f"found a pack of {short_side}; set it to {transform.resize} and pack again"
                )
        else:
            extents = read_items(self.images.folder)[["height", "width"]].to_numpy()
        self.extents = torch.from_numpy(extents[self.items].astype(np.int64))

    def __len__(self) -> int:
        return len(self.items)

    def training(
        self, batches: Iterable[Tensor], seed: int, epoch: int, device: torch.device | str = "cpu", start: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
        """Yield (indices, (n, 3, size, size) float32 on `device`) for each batch, with random boxes and flips.

        The draws of a step come from (seed, epoch, step) alone. The next two batches are prepared ahead (a few more if
        they hold fewer pictures than there are threads).

        Args:
            start: step of the first batch.
            part: (i, k): only the i-th of k shares of each batch, with the draws of the whole batch.

        Raises:
            ValueError: an image cannot be decoded; the message or its note names it.
        """

        def jobs():
            for step, batch in enumerate(batches, start):
                draw = step_generator(seed, epoch, step)
                boxes = random_boxes(*self.extents[batch].T, self.transform, draw)
                drawn = batch, boxes, flips(len(batch), self.transform.flip, draw)
                yield batch, *(share(rows, part) for rows in drawn)

        return self._batches(jobs(), torch.device(device))

    def part(self, part: tuple[int, int]) -> "PackedPictures":
        """The i-th of k shares of these pictures, for `part` (i, k)."""
        items = share(torch.from_numpy(self.items), part).numpy()
        return PackedPictures(self.images, items, self.transform, self.threads)

    def evaluation(self, batch: int, device: torch.device | str = "cpu") -> Iterator[Tensor]:
        """Yield all pictures in order, resized and cut to the central square: (<= `batch`, 3, size, size) float32."""

        def jobs():
            for first in range(0, len(self), batch):
                indices = torch.arange(first, min(first + batch, len(self)))
                yield None, indices, None, torch.zeros(len(indices), dtype=torch.bool)

        with closing(self._batches(jobs(), torch.device(device))) as batches:
            for _, images in batches:
                yield images

    def _batches(self, jobs: Iterator[tuple], device: torch.device) -> Iterator[tuple]:
        """Yield (key, images) of each job (key, indices, boxes or None, flips), divided among the threads."""
        begun: deque = deque()

        def pieces():
            for key, indices, boxes, mirrored in jobs:
                parts = torch.arange(len(indices)).tensor_split(min(self.threads, len(indices)))
                out = self.buffers.take(len(indices), 3, *[self.transform.size] * 2) if device.type == "cpu" else None
                begun.append((key, out, len(parts)))
                for part in parts:
                    within = slice(int(part[0]), int(part[-1]) + 1)
                    whole = [None] * len(part) if boxes is None else boxes[within]
                    yield indices[within].tolist(), whole, mirrored[within], None if out is None else out[within]

        with closing(ordered(self._prepare, pieces(), self.threads)) as prepared:
            for first in prepared:
                key, out, count = begun.popleft()
                rest = islice(prepared, count - 1)
                if out is None:
                    yield key, torch.cat([self._finish(part, device) for part in (first, *rest)])
                else:
                    deque(rest, maxlen=0)  # they have written their part of `out`
                    yield key, out

    def _prepare(self, piece: tuple) -> tuple[Tensor, Tensor, Tensor] | None:
        """In a thread: write finished pictures into `out`, or return the input of `_finish` on an accelerator."""
        indices, boxes, mirrored, out = piece
        regions = (self._region(index, box) for index, box in zip(indices, boxes))
        if out is None:
            return *padded(list(regions)), mirrored
        for i, region in enumerate(regions):
            crop = resized_crop(region, self.transform.size, bool(mirrored[i]), self.transform.interpolation)
            normalize(crop[None], self.transform, out[i : i + 1])

    def _finish(self, part: tuple[Tensor, Tensor, Tensor], device: torch.device) -> Tensor:
        block, extents, mirrored = (tensor.to(device, non_blocking=True) for tensor in part)
        crops = resample(block, extents, self.transform.size, mirrored, self.transform.interpolation)
        return normalize(crops, self.transform)

    def _region(self, index: int, box: Tensor | None) -> np.ndarray:
        """Pixels in the box of the stored image, or without a box the central square of the resized image."""
        item = int(self.items[index])
        try:
            image = self.images[item]
            if box is None:
                if min(image.shape[:2]) != self.transform.resize:
                    method = RESAMPLE[self.transform.interpolation]
                    image = np.asarray(resized(Image.fromarray(image), self.transform.resize, method))
                box = center_boxes(*torch.tensor(image.shape[:2])[:, None], self.transform.size)[0]
            return cut([image], box[None])[0]
        except Exception as error:
            error.add_note(f"(reading image {item} of {self.images.folder})")
            raise


class TensorPictures:
    """Pictures of one size in memory, (n, 3, h, w) uint8, randomly shifted by up to `padding` pixels.

    The draws of an epoch come from one generator; those of steps before `start` are drawn and dropped.

    Raises:
        ValueError: images of another shape or type; a transform that crops or mirrors.
    """

    def __init__(self, images: Tensor, transform: Transform, padding: int):
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
            raise ValueError(f"images: expected (n, 3, h, w) uint8, found {tuple(images.shape)} {images.dtype}")
        if transform.size is not None or transform.flip:
            raise ValueError("transform: expected one without size and flip, such as shift, for images of one size")
        self.images, self.transform, self.padding, self.side = images, transform, padding, max(images.shape[2:])

    def __len__(self) -> int:
        return len(self.images)

    def training(
        self, batches: Iterable[Tensor], seed: int, epoch: int, device: torch.device | str = "cpu", start: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
        """As PackedPictures.training; all batches of an epoch must have the same length."""
        draw, before = torch.Generator().manual_seed(seed * 100_003 + epoch), start
        for batch in batches:
            for _ in range(before):
                shifts(len(batch), self.padding, draw)
            before = 0
            images = self.images[share(batch, part)]
            if self.padding:
                by = shifts(len(batch), self.padding, draw).T
                images = shifted(images, share(by, part).T.contiguous())
            yield batch, normalize(images, self.transform).to(device, non_blocking=True)

    def part(self, part: tuple[int, int]) -> "TensorPictures":
        return TensorPictures(share(self.images, part), self.transform, self.padding)

    def evaluation(self, batch: int, device: torch.device | str = "cpu") -> Iterator[Tensor]:
        """As PackedPictures.evaluation, without resizing."""
        for images in self.images.split(batch):
            yield normalize(images, self.transform).to(device, non_blocking=True)


Pictures = PackedPictures | TensorPictures


def share(rows: Tensor, part: tuple[int, int]) -> Tensor:
    """The i-th of k shares of (n, ...), in order; the sizes of shares differ by at most one row. `part`: (i, k)."""
    return rows.tensor_split(part[1])[part[0]]


def step_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """The random generator of one step, independent of those of the steps beside it."""
    state = np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
