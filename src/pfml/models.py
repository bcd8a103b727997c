"""Backbone + pooling + embedding head."""

import torch
from torch import nn


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, BatchNorm, ReLU and 2x2 max pooling (16, 32, 64, 128 channels), averaged.

    The embedded default: 32x32 inputs, 0.11 M parameters, trained from scratch.
    """

    num_features = 128

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64, 128)):
        super().__init__()
        blocks, before = [], 3
        for after in channels:
            convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
            blocks += [convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
            before = after
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return self.blocks(x_NCHW).mean((2, 3))


class Embedder(nn.Module):
    """Images (n, 3, h, w) float -> embeddings (n, D); the losses and measures normalise them."""

    def __init__(self, backbone: nn.Module, embedding_dim: int):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.num_features, embedding_dim)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x_NCHW))


def build_model(backbone: str, embedding_dim: int, pretrained: bool = False) -> Embedder:
    """The network of a run.

    Args:
        backbone: "conv4", or any name that timm knows.
        embedding_dim: D.
        pretrained: timm only; the published weights of that name (fetched into timm's cache).

    Raises:
        ValueError: unknown backbone, or pretrained weights asked for where none exist.
    """
    if backbone == "conv4":
        if pretrained:
            raise ValueError("model.pretrained: conv4 has no published weights; expected false")
        return Embedder(Conv4(), embedding_dim)
    import timm  # seconds to import: only where it is needed

    if not timm.is_model(backbone):
        near = timm.list_models(f"*{backbone.split('.')[0]}*")[:5] or timm.list_models()[:5]
        raise ValueError(f"model.backbone: {backbone!r} is neither conv4 nor known to timm (such as {', '.join(near)})")
    return Embedder(timm.create_model(backbone, pretrained=pretrained, num_classes=0), embedding_dim)


def freeze_batchnorm(model, mode):  # SHIM
    from torch.nn.modules.batchnorm import _BatchNorm

    for part in model.backbone.modules():
        if isinstance(part, _BatchNorm) and mode != "none":
            part.eval()
            if mode == "statistics+affine":
                part.requires_grad_(False)
