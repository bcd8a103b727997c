"""A whole fast pack as uint8 on the device: batches are cut, resized and normalised there, and the host only draws.

The boxes, flips and arithmetic are those of PackedPictures (pfml.training.batches.pictures) on an accelerator, so the
pictures are the same to the bit; what is saved is the copy of each batch from the memory map.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from pfml.images.packed import PackedImages
from pfml.training.batches.crops import resample
from pfml.training.batches.pictures import share, step_generator
from pfml.training.batches.transforms import Transform, center_boxes, flips, normalize, random_boxes


class DevicePictures:
    """Pictures of rows `items` of a fast pack, whose pixels are on the device once, as one flat tensor.

    Args:
        pixels: of `load_pixels`, shared by the halves.
        images: the pack, of short side transform.resize: evaluation then needs no resizing.
        items: (n,) rows of the pack.

    Raises:
        ValueError: a pack of originals, or of another short side.
    """

    def __init__(self, pixels: Tensor, images: PackedImages, items: np.ndarray, transform: Transform):
        found = images.meta["short_side"]
        if found != transform.resize:
            raise ValueError(f"{images.folder}: expected a fast pack of short side {transform.resize}, found {found}")
        self.pixels, self.transform, self.side = pixels, transform, transform.size
        self.places = torch.from_numpy(images.index[np.asarray(items, dtype=np.int64)])
        self.near = self.places.to(pixels.device)

    def __len__(self) -> int:
        return len(self.places)

    def training(
        self, batches: Iterable[Tensor], seed: int, epoch: int, device: torch.device | str = "cpu", start: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
        """As PackedPictures.training."""
        for step, batch in enumerate(batches, start):
            draw = step_generator(seed, epoch, step)
            boxes = random_boxes(*self.places[batch, 1:].T, self.transform, draw)
            drawn = batch, boxes, flips(len(batch), self.transform.flip, draw)
            yield batch, self._batch(*(share(rows, part) for rows in drawn))

    def evaluation(self, batch: int, device: torch.device | str = "cpu") -> Iterator[Tensor]:
        """As PackedPictures.evaluation."""
        for indices in torch.arange(len(self)).split(batch):
            boxes = center_boxes(*self.places[indices, 1:].T, self.side)
            yield self._batch(indices, boxes, torch.zeros(len(indices), dtype=torch.bool))

    def _batch(self, indices: Tensor, boxes: Tensor, mirrored: Tensor) -> Tensor:
        """(n, 3, size, size) float32. A place outside its box has weight zero, so that its pixels do not matter."""
        high, wide = boxes[:, 2:].amax(0).tolist()
        device = self.pixels.device
        places, (top, left, height, width) = self.near[indices.to(device)], boxes.to(device).T
        rows = top[:, None] + torch.minimum(torch.arange(high, device=device), height[:, None] - 1)
        columns = left[:, None] + torch.minimum(torch.arange(wide, device=device), width[:, None] - 1)
        first = places[:, 0, None, None] + (rows[:, :, None] * places[:, 2, None, None] + columns[:, None, :]) * 3
        block = self.pixels[first[..., None] + torch.arange(3, device=device)]
        extents = torch.stack([height, width], dim=1)
        crops = resample(block, extents, self.side, mirrored.to(device), self.transform.interpolation)
        return normalize(crops, self.transform)


def load_pixels(images: PackedImages, device: str) -> Tensor:
    """All pixels of a fast pack, flat uint8 on the device."""
    return torch.from_numpy(np.fromfile(images.folder / "pixels.bin", np.uint8)).to(device)
