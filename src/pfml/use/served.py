"""A trained network as MLflow loads and serves it: a table with a column `image` to embeddings.

MLflow imports this module by its name, which stands in the file MLmodel of every logged model.
"""

import json
from pathlib import Path

import numpy as np

from pfml.use.model import EmbeddingModel, load_folder

REFERENCE = "reference.json"  # instead of the weights: {"folder": where they are, "weights": their digest}


class Served:
    """What `mlflow.pyfunc.load_model` gives. `model` is the network."""

    def __init__(self, model: EmbeddingModel):
        self.model = model

    def predict(self, images, params=None) -> np.ndarray:
        """(n, D) float32 of unit length.

        Args:
            images: a table with a column `image`: the contents of image files (bytes); over HTTP in base64.

        Raises:
            ValueError: no such column, or no image; names its row.
        """
        from pfml.images.decode import decode

        if "image" not in getattr(images, "columns", ()):
            raise ValueError(f"expected a table with a column `image`, found {type(images).__name__}")
        contents = [bytes(one) if isinstance(one, bytes | bytearray | memoryview) else one for one in images["image"]]
        for row, content in enumerate(contents):
            if not isinstance(content, bytes):
                raise ValueError(f"image of row {row}: expected the bytes of a file, found {type(content).__name__}")
        return self.model.embed([decode(content, f"image of row {row}") for row, content in enumerate(contents)])


def _load_pyfunc(path: str) -> Served:
    """The name that MLflow asks for.

    Args:
        path: a folder with model.safetensors and run.json, or with REFERENCE.

    Raises:
        ValueError: the network that is referred to is not there, or is another one by now.
    """
    folder, reference = Path(path), Path(path, REFERENCE)
    if not reference.is_file():
        return Served(load_folder(folder))
    told = json.loads(reference.read_text(encoding="utf-8"))
    folder = Path(told["folder"])
    if not (folder / "run.json").is_file():
        raise ValueError(
            f"{folder}: this logged model refers to the network there, which is gone; `dvc checkout` or `make repro` "
            "brings it back"
        )
    model = load_folder(folder)
    if model.digest != told["weights"]:
        raise ValueError(f"{folder}: expected the weights {told['weights']}, found {model.digest}: trained anew since")
    return Served(model)
