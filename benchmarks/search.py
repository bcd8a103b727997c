"""Seconds of `pfml search` beside faiss alone: 1,000 queries in 100,000 embeddings of 512 dimensions, exact.

python benchmarks/search.py
"""

import statistics
import time

import numpy as np

from pfml.use.index import nearest  # before faiss: it imports torch

import faiss  # isort: skip
from record import record

IMAGES, QUERIES, DIM, K, ROUNDS = 100_000, 1_000, 512, 10, 5


def main() -> None:
    rng = np.random.default_rng(0)
    points, queries = (unit(rng.normal(size=(n, DIM))) for n in (IMAGES, QUERIES))
    seconds: dict[str, list[float]] = {"faiss": [], "pfml": []}
    for _ in range(ROUNDS):  # in turn, so that a slow moment of the machine meets both
        for name, search in (("faiss", alone), ("pfml", nearest)):
            started = time.perf_counter()
            search(points, queries, K)
            seconds[name].append(time.perf_counter() - started)
    ratio = statistics.median(b / a for a, b in zip(seconds["faiss"], seconds["pfml"]))
    lines = ["| way | seconds, median | range | n |", "| --- | ---: | --- | ---: |"]
    for name, values in seconds.items():
        row = f"{statistics.median(values):.2f} | {min(values):.2f}–{max(values):.2f} | {ROUNDS}"
        lines.append(f"| {name} | {row} |")
    text = (
        f"{QUERIES:,} queries in {IMAGES:,} x {DIM}, exact, building included: pfml takes {ratio:.2f} of faiss's time."
    )
    record("Search in a folder of images", "\n".join([text, "", *lines]))


def alone(points: np.ndarray, queries: np.ndarray, k: int) -> None:
    index = faiss.IndexFlatIP(points.shape[1])
    index.add(points)
    index.search(queries, k)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
