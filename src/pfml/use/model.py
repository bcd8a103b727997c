"""A trained network with the preprocessing of its run."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize as unit

from pfml.images.decode import resized
from pfml.images.threads import ordered
from pfml.losses import LOSSES
from pfml.training.batches.pictures import RESAMPLE
from pfml.training.batches.transforms import TRANSFORMS, Transform, center_boxes, normalize
from pfml.training.networks.heads import in_place_of_linear
from pfml.training.networks.model import build_model
from pfml.use.pictures import Picture, listed, opened

BATCH_PIXELS = 64 * 224 * 224  # of one batch, at most
LARGEST_BATCH = 256


class EmbeddingModel(nn.Module):
    """Images to embeddings of unit length, in evaluation mode.

    Args:
        network: of pfml.training.networks.model.build_model.
        transform: its evaluation is the preprocessing.
        record: run.json of the training; `record["config"]` has all its settings.
        project: the folder of the project that trained it, for facts about its images.
    """

    def __init__(self, network: nn.Module, transform: Transform, record: dict, project: Path = Path()):
        super().__init__()
        self.network, self.transform, self.record, self.project = network, transform, record, project
        self.eval()

    @cached_property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width in pixels of the network's input: the square of its transform, or for transform shift the
        size of the training images, None where those are not here.
        """
        if self.transform.size is not None:
            return self.transform.size, self.transform.size
        images = self.project / "data/raw" / self.record["config"]["dataset"] / "images.npy"
        return np.load(images, mmap_mode="r").shape[1:3] if images.is_file() else None

    @property
    def embedding_dim(self) -> int:
        return self.record["config"]["model"]["embedding_dim"]

    @property
    def digest(self) -> str:
        """Of the weights, 16 hexadecimal digits: embeddings of another digest are not comparable."""
        return self.record["weights"]

    def train(self, mode: bool = True) -> "EmbeddingModel":
        """The network stays in evaluation mode: its embeddings are those that were measured."""
        return super().train(False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Preprocessed images (n, 3, h, w) float32 -> embeddings (n, D) float32 of unit length."""
        return unit(self.network(x_NCHW.contiguous(memory_format=torch.channels_last)).float(), dim=1)

    def preprocess(self, picture: Picture) -> Tensor:
        """(3, h, w) float32, as the network was measured: the short side resized, the central square cut out, values
        normalised. A network for images all of one size (transform shift) takes the picture as it is.

        Raises:
            ValueError: no image, or a broken one, or of another size than transform shift takes; names the file.
        """
        image, transform = opened(picture), self.transform
        if transform.size is None and self.image_size not in (None, image.size[::-1]):
            height, width = self.image_size
            raise ValueError(
                f"{picture if isinstance(picture, str | Path) else 'image'}: {image.size[0]} x {image.size[1]} pixels; "
                f"this network takes images as they are (transform shift), {width} x {height} pixels"
            )
        if transform.size is not None:
            if min(image.size) != transform.resize:
                image = resized(image, transform.resize, RESAMPLE[transform.interpolation])
            extents = torch.tensor([image.size[1]]), torch.tensor([image.size[0]])
            top, left, height, width = center_boxes(*extents, transform.size)[0].tolist()
            image = image.crop((left, top, left + width, top + height))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        return normalize(pixels, transform)[0]

    @torch.no_grad()
    def embed(
        self, images: Picture | Iterable[Picture], batch: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Embeddings of images.

        Args:
            images: a path, a folder, a PIL image, or several of them (pfml.use.pictures.listed).
            batch: images at a time; default 256 small ones, fewer of large ones.
            progress: called after each batch with the numbers of finished and of all images.

        Returns:
            (n, D) float32 of unit length, in the order of `images`; of a folder in that of the sorted paths.

        Raises:
            ValueError: a file that is no image or not there, a folder without images, a batch below 1, or, for
                transform shift, images of different sizes; names it.
            TypeError: neither paths nor PIL images.
        """
        if batch is not None and batch < 1:
            raise ValueError(f"batch: expected 1 or more, found {batch}")
        pictures = listed(images)
        if not pictures:
            return np.empty((0, self.embedding_dim), np.float32)
        side = self.transform.size or max(opened(pictures[0]).size)
        batch = batch or max(1, min(LARGEST_BATCH, BATCH_PIXELS // side**2))
        device, parts, done = next(self.parameters()).device, [], 0
        with closing(ordered(self.preprocess, pictures)) as prepared:
            for inputs in _batches(prepared, batch):
                if len(sizes := {tuple(one.shape[1:]) for one in inputs}) > 1:
                    raise ValueError(
                        f"images: expected one size, as this network was trained on (transform shift), found {sizes}"
                    )
                parts.append(self(torch.stack(inputs).to(device)).cpu().numpy())
                done += len(inputs)
                if progress:
                    progress(done, len(pictures))
        return np.concatenate(parts)


def _batches(items: Iterator[Tensor], count: int) -> Iterator[list[Tensor]]:
    while batch := list(islice(items, count)):
        yield batch


def load_folder(folder: Path, device: str | torch.device | None = None) -> EmbeddingModel:
    """The network in the folder of a finished training, models/grid/<dataset>/<run>/.

    Args:
        device: default a GPU if there is one.

    Raises:
        ValueError: a file is missing, or does not belong to the others; names it.
    """
    from safetensors.torch import load_file

    for name in ("run.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: missing; expected the folder of a finished training")
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    config = record["config"]
    trained_alone = config["train"].get("trunk", "fine_tune") != "fine_tune"  # the others stay as the weights have them
    network = build_model(**config["model"] | ({} if trained_alone else {"weights": None}))
    if own := LOSSES[config["loss_name"]].head:
        network.head = in_place_of_linear(network.head, own, config["model"]["embedding_dim"], config["loss"])
    try:
        state = load_file(folder / "model.safetensors")
        network.load_state_dict(network.state_dict() | state if trained_alone else state)
    except RuntimeError as error:
        raise ValueError(f"{folder / 'model.safetensors'}: not the network of run.json beside it ({error})") from None
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device, memory_format=torch.channels_last)
    above = folder.resolve().parents
    project = next((one for one in above if (one / "data/raw" / config["dataset"]).is_dir()), Path())
    return EmbeddingModel(network, TRANSFORMS[config["train"]["transform"]], record, project)
