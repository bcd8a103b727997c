"""Points that the tests of the field losses share: directions in the plane, and scenes of classes and proxies."""

import math

import torch


def on_circle(*degrees, dtype=torch.float32):
    angle = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angle.cos(), angle.sin()], 1).to(dtype)


def scene(kind, dim=8, classes=4, proxies=4, batch=12, seed=0):
    """(embeddings, labels, proxies): narrow cone, wide cloud, tight classes, or classes on one spot."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=g) / math.sqrt(dim)

    labels = torch.arange(batch) % classes
    if kind == "cone":
        centre = randn(1, dim) * 3
        return centre + 0.4 * randn(batch, dim), labels, centre + 0.4 * randn(classes, proxies, dim)
    if kind == "cloud":
        return randn(batch, dim), labels, randn(classes, proxies, dim)
    centres = randn(classes, dim)
    if kind == "merged":
        centres[:] = centres[:1]
    return (
        centres[labels] + 0.02 * randn(batch, dim),
        labels,
        centres[:, None] + 0.02 * randn(classes, proxies, dim),
    )
