"""Feeding a network: pictures a second, read, decoded, cropped, mirrored and normalised to float32 batches at 224 px.

Our exact pack (the original files) and fast pack (pixels, short side 256) are compared with torchvision's ImageFolder
and DataLoader with the same transform. All ways take turns in one process; a round is one pass over the pictures. A
first round warms up, so that the files are in the page cache. No network trains meanwhile.

Pictures: 500 x 375 JPEGs, quality 90, with the 1/f amplitudes of natural images; if PFML_REAL_DATA names a folder, also
its bird photographs (WebP, short side 224, so that the fast pack enlarges them).

    PYTHONPATH=src python benchmarks/loader.py        # prints markdown tables
"""

import argparse
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import torchvision
from loss import cpu_name, row, table
from PIL import Image
from torchvision.transforms import Compose, Normalize, RandomHorizontalFlip, RandomResizedCrop, ToTensor

from pfml.datasets.own import folder_listing
from pfml.datasets.pack import pack
from pfml.training.batches.pictures import PackedPictures
from pfml.training.batches.transforms import IMAGENET, TRANSFORMS

BATCH = 100
BIRDS = "data/cub200_full_first50/cub200_full_first50_short224.zip"


def natural(seed: int, height: int = 375, width: int = 500) -> Image.Image:
    """Noise with amplitudes 1 / frequency, its channels correlated 0.8, contrast as in a photograph."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    grey = rng.normal(size=(height, width))
    white = [0.9 * grey + 0.45 * rng.normal(size=(height, width)) for _ in range(3)]
    colored = np.stack([np.fft.irfft2(np.fft.rfft2(one) / frequency, (height, width)) for one in white], axis=2)
    return Image.fromarray(np.clip(120 + 50 * colored / colored.std(), 0, 255).astype(np.uint8))


def generated(folder: Path, images: int) -> str:
    """Write the pictures, in ten classes; returns their description."""
    for i in range(images):
        path = folder / f"{i % 10}/{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        natural(i).save(path, quality=90)
    size = sum(path.stat().st_size for path in folder.rglob("*.jpg")) / images
    return f"generated JPEGs, 500 x 375, quality 90, {size / 1e3:.0f} kB each"


def birds(folder: Path, images: int) -> str:
    with zipfile.ZipFile(Path(os.environ["PFML_REAL_DATA"]) / BIRDS) as archive:
        names = [name for name in archive.namelist() if name.endswith(".webp")]
        for name in names[:: len(names) // images][:images]:
            archive.extract(name, folder)
    return "photographs of birds, WebP, short side 224"


def seconds(batches: Iterable) -> float:
    start = time.perf_counter()
    for images in batches:
        del images
    return time.perf_counter() - start


def ways(folder: Path, images: int, threads: int) -> dict[str, Callable[[int], float]]:
    """Name -> seconds of one pass, given the number of the round."""
    passes = {}
    for mode in ("fast", "exact"):
        pictures = PackedPictures(folder / mode, np.arange(images), TRANSFORMS["proxy_anchor"], threads)

        def ours(epoch: int, pictures: PackedPictures = pictures) -> float:
            order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(epoch))
            return seconds(pictures.training(order.split(BATCH), 0, epoch))

        passes[f"{mode} pack, {threads} threads"] = ours
    steps = [RandomResizedCrop(224), RandomHorizontalFlip(), ToTensor(), Normalize(**IMAGENET)]
    files = torchvision.datasets.ImageFolder(str(folder / "files"), Compose(steps))
    for workers in range(threads + 1):
        loader = torch.utils.data.DataLoader(
            files, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        passes[f"torchvision, {workers} workers"] = lambda epoch, loader=loader: seconds(loader)
    return passes


def compare(folder: Path, threads: int, rounds: int) -> list[str]:
    """Rows: median pictures a second over the rounds, also as a multiple of torchvision's best."""
    listing = folder_listing(folder / "files")
    pack(listing, folder / "exact", "loader")
    pack(listing, folder / "fast", "loader", mode="fast", short_side=256)
    n = len(listing.table)
    passes = ways(folder, n, threads)
    rates = {name: [] for name in passes}
    for epoch in range(rounds + 1):
        for name, one_pass in passes.items():
            rates[name].append(n / one_pass(epoch))
    rates = {name: rate[1:] for name, rate in rates.items()}  # the first round is the warm-up
    best = max(statistics.median(rate) for name, rate in rates.items() if name.startswith("torchvision"))
    return [
        row(name, f"{statistics.median(rate):,.0f}", f"{min(rate):,.0f}–{max(rate):,.0f}",
            f"{statistics.median(rate) / best:.1f}", len(rate))
        for name, rate in rates.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="ours; torchvision's workers go from 0 to as many")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, Pillow {Image.__version__}"
    print(f"Batches of {BATCH} at 224 px, random resized crop and flip, on {cpu_name()}, {versions}; rounds: n.")
    for make in (generated, birds) if os.environ.get("PFML_REAL_DATA") else (generated,):
        with tempfile.TemporaryDirectory() as folder:
            print(f"\nPictures: {arguments.images}, {make(Path(folder, 'files'), arguments.images)}.")
            print(table("way", "pictures a second, median", "range", "times torchvision's best", "n"))
            print("\n".join(compare(Path(folder), arguments.threads, arguments.rounds)), flush=True)


if __name__ == "__main__":
    main()
