"""A fine-tuned check on photographs: published ImageNet weights, crops of cars, the paper's method beside others.

It trains with the pipeline's loop (pfml.training.loop) and the preset cars196-noise, in which the settings of CHANGES
differ: the paper trains ten times as long. Classes 1-49 train, 50-98 are searched in, unlike the benchmark's halves.
R@1 and MAP@R are of the unseen classes, before training of the pooled features of the pretrained network.
"""

import gzip
import shutil
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import yaml
from gpu_crops import run_data
from gpu_pictures import DevicePictures, load_pixels
from torch import nn

from pfml.retrieval import retrieval_metrics
from pfml.settings.load import params_from
from pfml.settings.overlay import merge
from pfml.settings.presets import read_preset
from pfml.settings.run import Run
from pfml.settings.runs import grid_runs
from pfml.settings.validation import Loader
from pfml.training.batches.run_data import RunData
from pfml.training.batches.transforms import TRANSFORMS
from pfml.training.loop import train
from pfml.training.measure import embed
from pfml.training.networks.model import Embedder, build_model

METHODS = (
    ("pfml", {"delta": 0.2}), ("proxy_anchor", {}), ("multi_similarity", {}), ("pfml", {"delta": 0.35}),
    ("pfml", {"delta": 0.1}),
)  # fmt: skip
NOISES = (0.0, 0.2)
# timm's name -> file in the folder `weights` of PFML_REAL_DATA, and the transform whose pixels these weights expect
NETWORKS = {
    "tf_efficientnet_lite2": ("efficientnet_lite2_imagenet/tf_efficientnet_lite2_in1k.safetensors", "vit"),
    "densenet169": ("densenet169_imagenet/densenet169_keras_in1k_backbone.pth", "proxy_anchor"),
}
CHANGES = {  # of the recipe, because 20 epochs are a tenth of the paper's 200
    "lr": 3e-4, "schedule": "cosine", "deterministic": False,
}  # fmt: skip
DRAWS = ("conv4", None, "small")  # a miniature without a bundle: network, no weights, transform


def fine_tune(context) -> None:
    """Every network, method and noise in turn, a result for each finished training, until the time is over."""
    networks = [DRAWS]
    if context.bundle:
        networks = [(name, *NETWORKS[name]) for name in NETWORKS if _packed(context.bundle, name).exists()]
    for backbone, file, transform in networks[: 1 if context.miniature else None]:
        weights = file and _unpacked(context, backbone, Path(file).suffix)
        longest, before, pixels = 0.0, None, None
        for method, settings in METHODS:
            for noise in NOISES:
                if context.left < 1.1 * longest:
                    return context.write("left out", what=f"{backbone}, {method} {settings}, and later ones")
                started = time.perf_counter()
                run = _run(context, backbone, weights, transform, method, settings, noise)
                images = context.crops(TRANSFORMS[run.train["transform"]].resize)
                if pixels is None:
                    pixels = load_pixels(images, context.device)
                source = partial(DevicePictures, pixels, images)
                data = run_data(run, images, source, TRANSFORMS[run.train["transform"]])
                if before is None:
                    before = frozen(run, data, context.device)
                    context.write("before", backbone=backbone, weights=bool(weights), **before)
                context.write(
                    "trained", backbone=backbone, method=method, noise=noise, **settings, **_trained(run, data)
                )
                longest = max(longest, time.perf_counter() - started)


def frozen(run: Run, data: RunData, device: str) -> dict:
    """Measures of the pretrained network's pooled features on the unseen classes."""
    torch.manual_seed(run.seed)
    model = build_model(**run.model)
    features = Embedder(model.backbone, model.pool, nn.Identity()).to(device, memory_format=torch.channels_last)
    return _measures(features, data)


def _trained(run: Run, data: RunData) -> dict:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        done = train(run, data)
    kernel = sorted({str(one.message)[:500] for one in said if "kernel" in str(one.message)})
    last = done.history[-1]
    peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None
    return {
        "recall@1": last["recall@1"], "map@r": last["map@r"], "loss": last["loss"], "epochs": done.epoch,
        "seconds": time.perf_counter() - started, "peak_gb": peak, "kernel_warnings": kernel,
        "train_images": len(data.train.labels), "train_classes": data.num_classes,
        "test_images": len(data.test.labels), "test_classes": data.test.num_classes,
        "recipe": {key: run.train[key] for key in ("batch", "lr", "proxy_lr", "optimizer", "sampler", "precision")},
    }  # fmt: skip


def _measures(model: nn.Module, data: RunData) -> dict:
    scores = retrieval_metrics(embed(model, data.test.pictures), data.test.labels, ks=(1,))
    return {name: scores[name] for name in ("recall@1", "map@r")}


def _run(
    context, backbone: str, weights: Path | None, transform: str, method: str, settings: dict, noise: float
) -> Run:
    """The method's run of the preset, with this network, few epochs and CHANGES."""
    default = yaml.load(Path("params.yaml").read_text(), Loader)
    params = params_from(merge(default, read_preset("cars196-noise")), "params.yaml")
    run = next(run for run in grid_runs(params) if run.method == method)
    sizes = context.sizes
    recipe = run.train | CHANGES | {
        "epochs": sizes.epochs, "eval_every": sizes.epochs, "batch": sizes.check_batch, "transform": transform,
        "precision": sizes.precision, "frozen_epochs": min(run.train["frozen_epochs"], sizes.epochs - 1),
    }  # fmt: skip
    if context.miniature:
        recipe["transform"], recipe["steps_per_epoch"] = "small", 2
    model = run.model | {"backbone": backbone, "weights": weights and str(weights)}
    loss = run.loss | settings
    return replace(run, noise=noise, seed=0, train=recipe, model=model, loss=loss)


def _packed(bundle: Path, backbone: str) -> Path:
    return bundle / "weights" / f"{backbone}{Path(NETWORKS[backbone][0]).suffix}.gz"


def _unpacked(context, backbone: str, suffix: str) -> Path:
    path = context.work / f"{backbone}{suffix}"
    with gzip.open(_packed(context.bundle, backbone)) as packed, open(path, "wb") as plain:
        shutil.copyfileobj(packed, plain)
    return path
