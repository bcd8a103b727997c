"""Small halves of textures, with right and with wrong labels, and how runs on them are compared."""

from dataclasses import replace

import numpy as np
import torch

from pfml.training.batches.pictures import TensorPictures
from pfml.training.batches.run_data import Half
from pfml.training.batches.transforms import TRANSFORMS


def half(classes, per_class, seed):
    """Random textures: each class a pattern of its own, each image that pattern plus noise."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 256, (classes, 3, 16, 16))
    labels = np.repeat(np.arange(classes), per_class)
    images = np.clip(patterns[labels] + rng.normal(0, 40, (len(labels), 3, 16, 16)), 0, 255).astype(np.uint8)
    return Half(TensorPictures(torch.from_numpy(images), TRANSFORMS["shift"], 3), torch.from_numpy(labels))


def with_wrong_labels(data):
    true = data.train.labels
    given = torch.where(torch.arange(len(true)) % 5 == 0, (true + 1) % 12, true)
    return replace(data, train=replace(data.train, labels=given), true_labels=true)


def with_recipe(run, **changes):
    return replace(run, train=dict(run.train, **changes))


def bits(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
