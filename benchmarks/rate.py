"""Does the network wait for its pictures? Pictures a second of the training loop (pfml.training.loop) with the recipe
of presets/cub200-resnet50.yaml and PFML, from packs, against the same loop on random tensors on the device.

Each way trains three epochs at a time, of which the second counts: the first warms up, the last ends with a
measurement. The ways take turns, round by round. On a CPU the decoding threads share the cores with the network; on a
GPU they do not. The network has random weights, which do not change its speed.

    PYTHONPATH=src python benchmarks/rate.py        # prints a markdown table

benchmarks/gpu.py calls `run_of` and `rate` with packed photographs.
"""

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import yaml
from loader import generated
from loss import cpu_name, row, table

from pfml.datasets.own import folder_listing
from pfml.datasets.pack import pack
from pfml.settings.load import params_from
from pfml.settings.overlay import merge
from pfml.settings.presets import read_preset
from pfml.settings.run import Run
from pfml.settings.runs import grid_runs
from pfml.settings.validation import Loader
from pfml.training.batches.pictures import PackedPictures
from pfml.training.batches.run_data import Half, RunData
from pfml.training.batches.transforms import TRANSFORMS
from pfml.training.loop import train

CLASSES = 100


class OnDevice:
    """Pictures (pfml.training.batches.pictures) that repeat one random batch on the device."""

    def __init__(self, count: int, batch: int, side: int, device: str):
        self.count, self.side = count, side
        self.images = torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)

    def __len__(self) -> int:
        return self.count

    def training(self, batches: Iterable, *_, **__) -> Iterator:
        for batch in batches:
            yield batch, self.images[: len(batch)]

    def evaluation(self, batch: int, device: str = "cpu") -> Iterator:
        for first in range(0, self.count, len(self.images)):
            yield self.images[: min(len(self.images), self.count - first)].to(device)


def run_of(options: argparse.Namespace) -> Run:
    """The run of the preset with three short epochs and the network of `options`."""
    default = yaml.load(Path("params.yaml").read_text(), Loader)
    params = params_from(merge(default, read_preset("cub200-resnet50")), "params.yaml")
    run = next(run for run in grid_runs(params) if run.method == "pfml" and run.noise == 0)
    recipe = run.train | {
        "epochs": 3, "steps_per_epoch": options.steps, "batch": options.batch, "eval_every": 4, "frozen_epochs": 0,
        "precision": options.precision, "threads": options.threads, "compile": options.compile,
    }  # fmt: skip
    return dataclasses.replace(run, train=recipe, model=run.model | {"backbone": options.backbone, "weights": None})


def ways(folder: Path, run: Run, count: int, device: str) -> dict:
    """Name -> pictures."""
    transform = TRANSFORMS[run.train["transform"]]
    packs = {f"{mode} pack": PackedPictures(folder / mode, np.arange(count), transform) for mode in ("fast", "exact")}
    return {"random tensors on the device": OnDevice(count, run.train["batch"], transform.size, device)} | packs


def rate(run: Run, pictures, classes: int = CLASSES) -> float:
    """Pictures a second of the second epoch."""
    labels = torch.arange(len(pictures)) % classes
    few = OnDevice(2 * classes, 20, pictures.side, "cpu")
    half = Half(pictures, labels)
    history = train(run, RunData(half, Half(few, torch.arange(len(few)) % classes), None, classes)).history
    return run.train["steps_per_epoch"] * run.train["batch"] / (history[1]["seconds"] - history[0]["seconds"])


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--batch", type=int, default=100 if gpu else 20)
    parser.add_argument("--steps", type=int, default=58 if gpu else 5, help="of an epoch; 58 is CUB-200-2011's")
    parser.add_argument("--precision", default="bfloat16" if gpu else "float32")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on a CPU")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--images", type=int, default=1000 if gpu else 200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    run, device = run_of(options), "cuda" if gpu else "cpu"
    name = torch.cuda.get_device_name() if gpu else f"{cpu_name()}, torch threads: {options.threads}"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        source = generated(folder / "files", options.images)
        listing = folder_listing(folder / "files")
        pack(listing, folder / "fast", "rate", mode="fast", short_side=256)
        pack(listing, folder / "exact", "rate")
        sources = ways(folder, run, options.images, device)
        rates: dict[str, list[float]] = {way: [] for way in sources}
        for _ in range(options.rounds):
            for way, pictures in sources.items():
                rates[way].append(rate(run, pictures))
    print(
        f"{options.backbone}, {options.precision}, {options.batch} pictures a batch at {sources['fast pack'].side} px, "
        f"PFML with {CLASSES} x {run.loss['proxies_per_class']} proxies, {options.steps} steps an epoch, on {name}, "
        f"torch {torch.__version__}; pictures: {options.images}, {source}; epochs: n.\n"
    )
    print(table("way", "pictures a second, median", "range", "share of random tensors", "n"))
    base = next(iter(rates.values()))
    for way, rate_of in rates.items():
        share = statistics.median(one / other for one, other in zip(rate_of, base))
        print(row(way, f"{statistics.median(rate_of):,.1f}", f"{min(rate_of):,.1f}–{max(rate_of):,.1f}",
                  f"{100 * share:.0f} %", len(rate_of)))  # fmt: skip


if __name__ == "__main__":
    main()
