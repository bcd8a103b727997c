"""An index over the images below a folder, kept beside them, and the search for their nearest neighbours."""

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pfml.settings.files import write_whole
from pfml.use.model import EmbeddingModel
from pfml.use.pictures import image_files

FOLDER = ".pfml"  # below the folder of images; hidden, so that it is no image itself
AT_ONCE = 1000  # new images between two writes of the index: what a stop can lose
EXACT_UP_TO = 200_000  # images; beyond, a graph answers faster, and misses a few neighbours
LINKS, BREADTH = 32, 128  # of the graph (HNSW): links of a point, candidates of a search


@dataclass(frozen=True)
class ImageIndex:
    """Images and their embeddings.

    Attributes:
        paths: (n,) relative to `folder`, sorted.
        embeddings: (n, D) float32 of unit length.
        weights: digest of the network's.
        left_out: files that are no readable images, with the reason.
    """

    folder: Path
    paths: tuple[str, ...]
    embeddings: np.ndarray
    weights: str
    left_out: tuple[str, ...] = ()

    def search(self, queries: np.ndarray, k: int, kind: str = "auto") -> tuple[np.ndarray, np.ndarray]:
        """The k most similar images of each query.

        Args:
            queries: (q, D) float32 of unit length, by the same network.
            kind: "exact", "hnsw" (a graph, approximate), or "auto": exact up to EXACT_UP_TO images.

        Returns:
            cosine similarities (q, k) float32, the largest first, and the places of the images (q, k) in `paths`; fewer
            columns if there are fewer images.

        Raises:
            ValueError: queries of another dimension, a k below 1, or an unknown kind.
        """
        if queries.ndim != 2 or queries.shape[1] != self.embeddings.shape[1]:
            raise ValueError(f"queries: expected (q, {self.embeddings.shape[1]}), found {queries.shape}")
        if k < 1:
            raise ValueError(f"k: expected 1 or more, found {k}")
        return nearest(self.embeddings, queries, min(k, len(self.paths)), kind)


def nearest(points: np.ndarray, queries: np.ndarray, k: int, kind: str = "auto") -> tuple[np.ndarray, np.ndarray]:
    """See ImageIndex.search. On a GPU where there is one and the search is exact."""
    import faiss  # after torch, which pfml.use.model imports: the other order can crash where CUDA versions differ

    if kind not in ("auto", "exact", "hnsw"):
        raise ValueError(f"kind: expected auto, exact or hnsw, found {kind!r}")
    exact = kind == "exact" or (kind == "auto" and len(points) <= EXACT_UP_TO)
    if exact:
        index = faiss.IndexFlatIP(points.shape[1])
        if faiss.get_num_gpus():
            index = faiss.index_cpu_to_all_gpus(index)
    else:
        index = faiss.IndexHNSWFlat(points.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = max(BREADTH, 2 * k)
    index.add(np.ascontiguousarray(points))
    return index.search(np.ascontiguousarray(queries, np.float32), k)


def index_folder(model: EmbeddingModel, folder: Path, tell: Callable[[str], None] = lambda line: None) -> ImageIndex:
    """The index of a folder, brought up to date: new and changed files are embedded, vanished ones dropped.

    It is kept in <folder>/.pfml/<weights>.npz, one file for each network, whole at any moment. A stop loses the last
    AT_ONCE images at most. Where the folder cannot be written, the index is made each time.

    Args:
        tell: is given lines of progress, and the files that are left out.

    Raises:
        ValueError: no such folder, or no image below it.
    """
    store = folder / FOLDER / f"{model.digest}.npz"
    stamps = {path: _stamp(folder / path) for path in image_files(folder)}
    known = {path: (stamp, row) for path, stamp, row in _read(store, model.embedding_dim, tell)}
    kept = {path: row for path, (stamp, row) in known.items() if stamps.get(path) == stamp}
    new = [path for path in stamps if path not in kept]
    left_out: list[str] = []
    for first in range(0, len(new), AT_ONCE):
        rows, broken = _embedded(model, folder, new[first : first + AT_ONCE])
        kept |= rows
        left_out += broken
        _write(store, {path: (stamps[path], kept[path]) for path in sorted(kept)}, tell)
        tell(f"{folder}: {min(first + AT_ONCE, len(new))} of {len(new)} new images")
    if not new and kept.keys() != known.keys():
        _write(store, {path: (stamps[path], kept[path]) for path in sorted(kept)}, tell)
    for line in left_out:
        tell(f"left out: {line}")
    if not kept:
        raise ValueError(f"{folder}: expected readable images below this folder, found none")
    paths = tuple(sorted(kept))
    return ImageIndex(folder, paths, np.stack([kept[path] for path in paths]), model.digest, tuple(left_out))


def _embedded(model: EmbeddingModel, folder: Path, paths: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Embeddings by path, and of the files that cannot be read a line each."""
    try:
        return dict(zip(paths, model.embed([folder / path for path in paths]))), []
    except ValueError:  # one of them at least is broken: which?
        found, broken = {}, []
        for path in paths:
            try:
                found[path] = model.embed(folder / path)[0]
            except ValueError as error:
                broken.append(str(error))
        return found, broken


def _stamp(path: Path) -> str:
    """What changes when a file changes."""
    state = path.stat()
    return f"{state.st_size} {state.st_mtime_ns}"


def _read(store: Path, dim: int, tell: Callable[[str], None]) -> list[tuple[str, str, np.ndarray]]:
    if not store.is_file():
        return []
    try:
        with np.load(store) as saved:
            paths, stamps, embeddings = (saved[name] for name in ("paths", "stamps", "embeddings"))
        if embeddings.shape != (len(paths), dim) or len(stamps) != len(paths):
            raise ValueError(f"expected ({len(paths)}, {dim}) embeddings, found {embeddings.shape}")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        tell(f"{store}: damaged ({error}); made anew")
        return []
    return list(zip(map(str, paths), map(str, stamps), embeddings))


def _write(store: Path, rows: dict[str, tuple[str, np.ndarray]], tell: Callable[[str], None]) -> None:
    content = io.BytesIO()
    np.savez(
        content, paths=np.array(list(rows), dtype=str),
        stamps=np.array([stamp for stamp, _ in rows.values()], dtype=str),
        embeddings=np.stack([row for _, row in rows.values()]) if rows else np.empty((0, 0), np.float32),
    )  # fmt: skip
    try:
        write_whole(store, content.getvalue())
    except OSError as error:
        tell(f"{store}: cannot be written ({error.strerror}); the index is made again the next time")
