"""A trained network as files for other programs: weights, ONNX, or a graph of torch.export, with its preprocessing and
a model card beside it.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.export import Dim
from torch.nn.functional import normalize as unit

from pfml.settings import ConfigError
from pfml.use.card import model_card
from pfml.use.model import EmbeddingModel
from pfml.use.preprocessing import preprocessing

FORMATS = ("safetensors", "onnx", "torch.export")
OPSET = 18  # of ONNX
CHECKED = 4  # random images on which an exported network is compared with the original
TOLERANCE = 1e-4  # largest difference of a coordinate; beyond, the export is refused


def export(
    model: EmbeddingModel, source: Path, out: Path, kind: str, side: int | None = None,
    tell: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Write a network to a new folder, whole or not at all.

    The folder gets preprocessing.json, README.md (the model card) and, by `kind`: "safetensors" model.safetensors and
    run.json, which `pfml.load` reads; "onnx" model.onnx; "torch.export" model.pt2. The last two map preprocessed images
    (batch, 3, h, w) float32 of one size to embeddings (batch, D) of unit length, and are compared with the original on
    random images.

    Args:
        source: the folder of the finished training.
        out: a folder that is not there yet.
        side: pixels of the images of a network that takes them as they are; None: as in its project's data/raw.

    Raises:
        ConfigError: an unknown kind, `out` is there, or a `side` that is not known or not the network's.
        ImportError: onnx: a package of the extra `export` is missing.
        ValueError: the exported network differs from the original.
    """
    if kind not in FORMATS:
        raise ConfigError(f"--format {kind}: expected one of {', '.join(FORMATS)}")
    if out.exists():
        raise ConfigError(f"{out}: exists; expected a folder that is not there yet")
    if kind == "safetensors" and side is None:  # no graph is made, whatever the size
        height, width = model.image_size or (None, None)
    else:
        height, width = input_size(model, side)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as place:
        folder = Path(place, "export")
        folder.mkdir()
        if kind == "safetensors":
            for name in ("model.safetensors", "run.json"):
                shutil.copyfile(source / name, folder / name)
        else:
            difference = (to_onnx if kind == "onnx" else to_torch_export)(model, folder, height, width)
            tell(f"{kind}: largest difference from torch on {CHECKED} random images: {difference:.1e}")
            if not difference <= TOLERANCE:
                raise ValueError(f"{kind}: expected a difference of at most {TOLERANCE:g}, found {difference:.1e}")
        text = json.dumps(preprocessing(model, height, width), indent=1) + "\n"
        (folder / "preprocessing.json").write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(model_card(model), encoding="utf-8")
        folder.rename(out)


def input_size(model: EmbeddingModel, side: int | None) -> tuple[int, int]:
    """Height and width in pixels of the network's input. Raises ConfigError as `export`."""
    known = model.image_size
    if side is not None and known not in (None, (side, side)):
        raise ConfigError(f"--side {side}: expected nothing, or the size that this network takes, {known}")
    if side is not None and side < 1:
        raise ConfigError(f"--side {side}: expected 1 or more pixels")
    if known is None and side is None:
        name = model.record["config"]["dataset"]
        raise ConfigError(
            f"{name}: this network takes images as they are, and their size is not known where data/raw/{name} is not; "
            "expected --side PIXELS"
        )
    return known or (side, side)


def to_torch_export(model: EmbeddingModel, folder: Path, height: int, width: int) -> float:
    """Write model.pt2 (torch.export.save); returns the largest difference of its embeddings from the model's."""
    images = _random_images(height, width)
    torch.export.save(_program(model, images), folder / "model.pt2")
    loaded = torch.export.load(folder / "model.pt2").module()
    return _difference(model, images, lambda some: loaded(some).numpy())


def to_onnx(model: EmbeddingModel, folder: Path, height: int, width: int) -> float:
    """Write model.onnx by PyTorch's exporter; returns the largest difference of its embeddings, by ONNX Runtime, from
    the model's.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is not installed.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401, which the exporter imports
    except ModuleNotFoundError as error:
        raise ImportError(
            f"--format onnx needs {error.name}, which is not installed; expected the extra pfml[export]: "
            "pip install '.[export]' in a clone"
        ) from None
    path, images = folder / "model.onnx", _random_images(height, width)
    torch.onnx.export(
        _program(model, images), dynamo=True, input_names=["images"], output_names=["embeddings"], opset_version=OPSET,
        external_data=False, verbose=False,
    ).save(path, external_data=False)  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return _difference(model, images, lambda some: session.run(["embeddings"], {"images": some.numpy()})[0])


class _Plain(nn.Module):
    """A model's map from images to embeddings, without the layout of memory that it asks for."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return unit(self.network(images).float(), dim=1)


def _program(model: EmbeddingModel, images: torch.Tensor) -> torch.export.ExportedProgram:
    """The graph, for any number of images of this size, on the CPU."""
    plain = _Plain(model.network.cpu().to(memory_format=torch.contiguous_format)).eval().requires_grad_(False)
    with torch.no_grad():
        return torch.export.export(plain, (images,), dynamic_shapes={"images": {0: Dim("batch")}})


def _random_images(height: int, width: int) -> torch.Tensor:
    return torch.randn(CHECKED, 3, height, width, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _difference(model: EmbeddingModel, images: torch.Tensor, embed: Callable[[torch.Tensor], np.ndarray]) -> float:
    """One image at a time and all at once, since a graph may be tied to a number of them."""
    expected = model.cpu()(images).numpy()
    found = np.stack([embed(images), np.concatenate([embed(image[None]) for image in images])])
    return float(np.abs(found - expected).max())
