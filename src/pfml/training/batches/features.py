"""Batches of features that were computed once, in the place of pictures."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pfml.training.batches.pictures import share, step_generator


class Features:
    """Output of a frozen front (pfml.training.features), with the interface of the pictures in `pictures`.

    Args:
        folder: data/features/<dataset>.
        items: (n,) image numbers.

    Attributes:
        channels: C of the features (C, h, w) of an image.

    Raises:
        ValueError: no finished features there.
    """

    side = 1  # pixels, of which batches of evaluation are computed: features are small

    def __init__(self, folder: Path, items: np.ndarray):
        if not (folder / "evaluation.npy").is_file() or not (folder / "meta.json").is_file():
            raise ValueError(f"{folder}: expected finished features, found none; run dvc repro")
        self.folder, self.items = folder, np.asarray(items, np.int64)
        self.meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self._evaluation = np.load(folder / "evaluation.npy", mmap_mode="r")
        self._training = np.load(folder / "training.npy", mmap_mode="r")
        known = np.load(folder / "items.npy")
        self.channels = self._evaluation.shape[1]
        self._rows = np.full(len(self._evaluation), -1)
        self._rows[known] = np.arange(len(known))

    def __len__(self) -> int:
        return len(self.items)

    def training(
        self, batches: Iterable[Tensor], seed: int, epoch: int, device: torch.device | str = "cpu", start: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
        """Yield (indices, (n, C, h, w) float32 on `device`) for each batch: one of the views of each image, drawn from
        (seed, epoch, step) alone. Arguments are those of PackedPictures.training.
        """
        for step, batch in enumerate(batches, start):
            views = torch.randint(self._training.shape[1], (len(batch),), generator=step_generator(seed, epoch, step))
            rows = self._rows[self.items[share(batch, part).numpy()]]
            yield batch, _tensor(self._training[rows, share(views, part).numpy()], device)

    def part(self, part: tuple[int, int]) -> "Features":
        return Features(self.folder, share(torch.from_numpy(self.items), part).numpy())

    def evaluation(self, batch: int, device: torch.device | str = "cpu") -> Iterator[Tensor]:
        """Yield the features of all images in order, (<= `batch`, C, h, w) float32."""
        for first in range(0, len(self), batch):
            yield _tensor(self._evaluation[self.items[first : first + batch]], device)


def _tensor(values: np.ndarray, device: torch.device | str) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device, non_blocking=True)
