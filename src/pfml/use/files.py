"""Embeddings as a file: .npz for NumPy, .parquet for tables."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pfml.settings import ConfigError
from pfml.settings.files import write_whole

KINDS = (".npz", ".parquet")


def check_name(path: Path) -> None:
    """Raises ConfigError for a name of another kind, before anything is computed."""
    if path.suffix not in KINDS:
        raise ConfigError(f"{path}: expected a name that ends with {' or '.join(KINDS)}")


def write_embeddings(path: Path, paths: Sequence[str], embeddings: np.ndarray, digest: str) -> None:
    """Write (n, D) embeddings with the paths of their images and the digest of the weights; whole or not at all.

    .npz has the arrays `embeddings`, `paths` and `weights`; .parquet a line an image with `path`, `embedding` (a list
    of D numbers) and `weights`.

    Raises:
        ConfigError: see check_name.
    """
    check_name(path)
    content = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(content, embeddings=embeddings, paths=np.array(paths, dtype=str), weights=np.array(digest))
    else:
        import pandas as pd

        frame = pd.DataFrame({"path": list(paths), "embedding": list(embeddings), "weights": digest})
        frame.to_parquet(content, index=False)
    write_whole(path, content.getvalue())
