"""Embed a dataset once by the front of a network that no run trains, and keep its output for all runs.

data/features/<dataset>/ has

    evaluation.npy   (n, C, h, w) float16: every image of the dataset, as evaluation takes it
    training.npy     (t, K, C, h, w) float16: K random views of every image of the training half, as training takes it
    items.npy        (t,) int64: the image numbers of the training half
    meta.json        the plan, shapes, digests of the front's weights and of the arrays

They are made in .checkpoints and move there when they are whole, so a stop loses one batch. The arrays are read by
memory maps, so that all runs share them.
"""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pfml.images.packed import open_images
from pfml.settings.files import write_whole
from pfml.training.batches.run_data import pictures_of
from pfml.training.networks.model import build_model
from pfml.training.networks.trunk import Front, split_network

AT_ONCE = 16 * 224 * 224  # pixels of a batch
BETWEEN = 10.0  # seconds between two lines of progress
PROGRESS = "progress.json"  # in the folder where features are made: how far they are
CODE = ("images", "training/batches", "training/networks", "training/features.py")  # that decides features


def write_features(
    plan: dict, name: str, folder: Path, working: Path, stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Make or finish the features of a dataset.

    Args:
        plan: data/plan/features/<name>.json.
        name: of the dataset.
        folder: data/features/<name>; what it has goes.
        working: a folder in which they are made, one below it for each plan, dataset and code.
        stop: called before every batch; True ends the process with code 130.

    Raises:
        ValueError: a network or images that do not fit the plan, or features that are not finite in float16.
    """
    torch.manual_seed(0)
    model = build_model(**plan["model"], embedding_dim=1)
    front, _ = split_network(model, plan["trunk"], plan["trained_stages"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    front = front.to(device, memory_format=torch.channels_last).eval()
    images = open_images(Path("data/raw", name))
    split = pd.read_csv(f"data/split/{name}.csv")
    items = split.loc[split["split"] == "train", "item"].to_numpy()
    made_of = {
        "plan": plan, "images": images.meta["digest"], "weights": _weights(front), "items": _digest(items),
    }  # fmt: skip
    working = working / hashlib.sha256(json.dumps(made_of | {"code": _code()}).encode()).hexdigest()[:16]
    working.mkdir(parents=True, exist_ok=True)
    batch = max(1, AT_ONCE // pictures_of(images, items[:1], plan["train"]).side ** 2)
    shape, views = _shape(front, pictures_of(images, items[:1], plan["train"]), device), plan["views"]
    done = json.loads((working / PROGRESS).read_text(encoding="utf-8")) if (working / PROGRESS).exists() else 0
    evaluation = _array(working / "evaluation.npy", (len(images), *shape), new=not done)
    training = _array(working / "training.npy", (len(items), views, *shape), new=not done)
    of_all, of_items = (range(0, count, batch) for count in (len(images), len(items)))
    total = len(of_all) + views * len(of_items)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray, torch.Tensor]]:
        """(array, its rows, the network's input) of every batch that is not done."""
        for first in of_all[done:]:
            rows = np.arange(first, min(first + batch, len(images)))
            (pixels,) = pictures_of(images, rows, plan["train"]).evaluation(batch, device)
            yield evaluation, rows, pixels
        pictures = pictures_of(images, items, plan["train"])
        for view in range(views):
            start = min(max(0, done - len(of_all) - view * len(of_items)), len(of_items))
            rows = (torch.arange(first, min(first + batch, len(items))) for first in of_items[start:])
            for some, pixels in pictures.training(rows, plan["seed"], view, device, start=start):
                yield training[:, view], some.numpy(), pixels

    begun = told = time.monotonic()
    for count, (into, rows, pixels) in enumerate(batches(), done + 1):
        if stop():
            sys.exit(130)
        into[rows] = _features(front, pixels, name)
        evaluation.flush()
        training.flush()
        write_whole(working / PROGRESS, json.dumps(count))
        now = time.monotonic()
        if now - told >= BETWEEN:
            told, left = now, (now - begun) / (count - done) * (total - count)
            tell(f"{name}: features, batch {count} of {total}, {left:.0f} s left")
    np.save(working / "items.npy", items)
    arrays = {path.name: _digest(np.load(path, mmap_mode="r")) for path in sorted(working.glob("*.npy"))}
    meta = made_of | {"trunk": plan["trunk"], "shape": list(shape), "views": views, "arrays": arrays}
    write_whole(working / "meta.json", json.dumps(meta, indent=1) + "\n")
    (working / PROGRESS).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(working, folder)


def _array(path: Path, shape: tuple[int, ...], new: bool) -> np.memmap:
    return np.lib.format.open_memmap(path, "w+" if new else "r+", np.float16, shape if new else None)


@torch.no_grad()
def _features(front: Front, pixels: torch.Tensor, name: str) -> np.ndarray:
    found = front(pixels.contiguous(memory_format=torch.channels_last)).half()
    if not found.isfinite().all():
        raise ValueError(
            f"{name}: the network's features are not finite in float16; check model.weights and train.transform"
        )
    return found.contiguous().cpu().numpy()


def _shape(front: Front, pictures, device: torch.device) -> tuple[int, ...]:
    with torch.no_grad():
        (sample,) = pictures.evaluation(1, device)
        return tuple(front(sample).shape[1:])


def _weights(front: Front) -> str:
    state = hashlib.sha256()
    for value in front.model.backbone.state_dict().values():
        state.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return state.hexdigest()[:16]


def _code() -> str:
    state, package = hashlib.sha256(), Path(__file__).parents[1]
    for name in CODE:
        for path in [package / name] if name.endswith(".py") else sorted((package / name).rglob("*.py")):
            state.update(path.read_bytes())
    return state.hexdigest()[:16]


def _digest(array: np.ndarray) -> str:
    state = hashlib.sha256()
    for first in range(0, len(array), 4096):
        state.update(np.ascontiguousarray(array[first : first + 4096]))
    return state.hexdigest()[:16]
