"""Reproducible training: save and restore the global random generators, and switch a GPU to deterministic kernels.

Dropout and library miners draw from the global generators. Batches, crops and label noise have their own generators
(pfml.training.batches.samplers, pfml.training.batches.pictures, pfml.labels.noise).
"""

import os
import random

import numpy as np
import torch


def random_state(device: torch.device) -> dict:
    """State of the global generators as tensors and plain numbers: a file with it loads without running code."""
    kind, keys, *rest = np.random.get_state()
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), *map(float, rest)],
        "python": [version, list(words), gauss],
    }


def restore_random(state: dict, device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:  # None: the run began on a CPU
        torch.cuda.set_rng_state(state["cuda"], device)
    kind, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), int(place), int(has_gauss), gauss))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))


def set_determinism(deterministic: bool) -> None:
    """Choose deterministic kernels on a GPU, or the fastest ones.

    An operation without deterministic kernel warns once. Attention uses the plain product if deterministic, since no
    fused kernel is deterministic in the backward pass.
    """
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # every empty tensor here is written before it is read
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is formed
    for enable in (
        torch.backends.cuda.enable_flash_sdp,
        torch.backends.cuda.enable_mem_efficient_sdp,
        torch.backends.cuda.enable_cudnn_sdp,
    ):
        enable(not deterministic)
