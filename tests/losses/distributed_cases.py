"""Losses and batches in parts, one for each rank, and what became of a call."""

import torch

from pfml.losses import build_loss
from tests.oracles.field import random_batch

N, D = 5, 8


def make(name="pfml", seed=0, classes=N, **settings):
    """A loss in whose field attraction and repulsion act."""
    torch.manual_seed(seed)
    settings = {"proxies_per_class": 3, "delta": 0.5, "delta_rep": 1.8} | settings
    return build_loss(name, classes, D, **settings)


def parts(seed, sizes):
    """A batch without the last class, in parts: [(embeddings, labels)]."""
    embeddings, labels, _ = random_batch(seed, sum(sizes), D, N - 1)
    return list(zip(embeddings.split(sizes), labels.split(sizes)))


def joined(batch):
    return tuple(torch.cat(tensors) for tensors in zip(*batch))


def assert_close(found, expected):
    size = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7 * size)


def outcome(call, *args):
    try:
        call(*args)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "fine"
