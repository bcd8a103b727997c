"""A study as its stages leave it, with embeddings made by hand instead of trained."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from pfml.labels.held_out import labels_without_held_out
from pfml.labels.noise import noise_manifest
from pfml.settings.load import load_params
from pfml.settings.run import Run, inputs_digest
from pfml.settings.runs import grid_runs

CLASSES, IMAGES, DIM = 6, 10, 8  # of each half; images a class


def directions(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIM))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_study(folder: Path, raw: dict, write, places) -> list[Run]:
    """Files of every run of `raw`'s grid below `folder`, which must be the working directory.

    Args:
        places: (run, given labels, true labels) -> (n,) the class centre at which each training image lies.
    """
    raw["split"]["validation_classes"] = 2
    grid = grid_runs(load_params(write(raw, folder)))
    images = folder / "data/raw/glyphs"
    images.mkdir(parents=True)
    (images / "meta.json").write_text('{"digest": "abc"}')
    pixels = np.random.default_rng(0).integers(0, 255, (2 * CLASSES * IMAGES, 8, 8, 3), dtype=np.uint8)
    np.save(images / "images.npy", pixels)
    classes = np.repeat(np.arange(2 * CLASSES), IMAGES)
    names = [f"letter {c}" for c in classes]
    split = pd.DataFrame({"item": np.arange(len(classes)), "class_id": classes, "class_name": names})
    split["split"], split["validation"] = np.where(classes < CLASSES, "train", "test"), classes < 2
    for name in ("split", "noise"):
        (folder / "data" / name).mkdir()
    split.to_csv(folder / "data/split/glyphs.csv", index=False)
    for run in grid:
        manifest = noise_manifest(split, float(run.noise), run.seed)
        manifest = labels_without_held_out(manifest, "uniform", float(run.noise), run.seed)
        manifest.to_csv(run.paths().manifest, index=False)
        write_run(run, manifest, places)
    return grid


def write_run(run: Run, manifest: pd.DataFrame, places) -> None:
    train, test = (manifest[manifest["split"] == half] for half in ("train", "test"))
    given, true = train["noisy_label"].to_numpy(), train["true_label"].to_numpy()
    centres, folder = directions(CLASSES, 1), run.paths().model
    draw = np.random.default_rng(2)
    spread = 0.02 if run.method != "proxy_nca" else 0.6  # the worst in retrieval
    found = centres[test["true_label"]] + spread * draw.normal(size=(len(test), DIM))
    learned = centres[places(run, given, true)] + 0.02 * draw.normal(size=(len(train), DIM))
    per_class = {"pfml": 2, "cpml": 2, "proxy_nca": 1}.get(run.method, 0)
    proxies = np.repeat(3 * centres[:, None], per_class, 1) if per_class else np.zeros((0, 0, 0))
    folder.mkdir(parents=True)
    np.savez(folder / "embeddings.npz", test=found.astype(np.float32), test_labels=test["true_label"].to_numpy(),
             train=learned.astype(np.float32), train_labels=given, proxies=proxies.astype(np.float32))  # fmt: skip
    (folder / "history.csv").write_text("epoch,loss,recall@1\n1,2.0,0.5\n2,1.0,0.6\n")
    trained = {"run": run.name, "digest": run.digest, "config": run.config, "inputs": inputs_digest(run)}
    (folder / "run.json").write_text(json.dumps(trained, default=str))
