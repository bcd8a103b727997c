"""The global generators, for what draws from them (dropout, library miners), as something a checkpoint can hold.

Batches, crops and label noise draw from generators of their own (pfml.data.samplers, pictures, noise).
"""

import random

import numpy as np
import torch


def random_state(device: torch.device) -> dict:
    """Tensors and plain numbers, so that a file with them loads without running code."""
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
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    kind, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), int(place), int(has_gauss), gauss))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
