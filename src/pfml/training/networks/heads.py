"""From a backbone's features to the embedding: pooling over positions, and a new linear layer."""

from collections.abc import Mapping

import torch
from torch import nn

POOLINGS = ("avg", "avg+max", "cls")
STANDARDIZE = "standardize+"  # before a head: its input standardised
HEADS = (
    "linear", "linear+layernorm", "linear+batchnorm", "mlp", "none", f"{STANDARDIZE}linear", f"{STANDARDIZE}mlp",
)  # fmt: skip
HEAD_INITS = ("default", "kaiming", "orthogonal")


class Pool(nn.Module):
    """Features with positions -> features (n, C).

    A CNN's map (n, C, h, w), or (n, h, w, C) for some networks of timm, is pooled over h and w. A transformer's tokens
    (n, T, C), after its final norm, are pooled over the patches, without class and register tokens.

    Args:
        pooling: "avg", the mean; "avg+max", mean plus maximum, as in the code of Proxy-Anchor and HIST (a plain sum;
            the "avgmax" of timm is half of it); "cls", the class token, as in the ViT and DINO protocol.
        backbone: the network that makes the features; decides their layout.

    Raises:
        ValueError: unknown pooling, or "cls" for a backbone without class token.
    """

    def __init__(self, pooling: str, backbone: nn.Module):
        super().__init__()
        _known("pooling", pooling, POOLINGS)
        if pooling == "cls" and getattr(backbone, "cls_token", None) is None:
            raise ValueError(
                f"model.pooling: 'cls' needs a class token, and {type(backbone).__name__} has none; "
                "expected 'avg' or 'avg+max'"
            )
        self.pooling = pooling
        self.prefix = getattr(backbone, "num_prefix_tokens", 0)
        self.places = (1, 2) if getattr(backbone, "output_fmt", "NCHW") == "NHWC" else (2, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.pooling == "cls":
            return features[:, 0]
        places = self.places
        if features.ndim == 3:
            features, places = features[:, self.prefix :], (1,)
        average = features.mean(places)
        return average if self.pooling == "avg" else average + features.amax(places)

    def extra_repr(self) -> str:
        return self.pooling


class Standardize(nn.Module):
    """Features (n, C) -> (n, C) of mean 0 and standard deviation 1 over the training images, each channel by itself.

    Mean and deviation are set once, from data (`fit`), and stay.
    """

    def __init__(self, features: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    @torch.no_grad()
    def fit(self, features: torch.Tensor) -> None:
        """Set mean and deviation from features (n, C). A channel that never changes keeps a deviation of 1."""
        std, mean = torch.std_mean(features.double(), dim=0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, 1.0))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.mean) / self.std


def build_head(features: int, embedding_dim: int, head: str = "linear", init: str = "default") -> nn.Module:
    """The layers (n, features) -> (n, embedding_dim). Embeddings are not of unit length; losses and measures normalise.

    Args:
        head: "linear"; "linear+layernorm", followed by a LayerNorm without weights (HIST's default);
            "linear+batchnorm", followed by a BatchNorm1d with weights; "mlp", behind a hidden layer as wide as the
            features, with ReLU; "none", the features themselves; "standardize+linear" and "standardize+mlp", behind a
            `Standardize`.
        init: of the linear layer. "default", torch's; "kaiming", kaiming_normal over the fan out, bias 0
            (Proxy-Anchor, HIST); "orthogonal", bias 0 (Hyp, whose layer has no bias).

    Raises:
        ValueError: unknown head or init, embedding_dim below 1, or with "none" another one than `features`.
    """
    _known("head", head, HEADS)
    _known("head_init", init, HEAD_INITS)
    if embedding_dim < 1:
        raise ValueError(f"model.embedding_dim: expected 1 or more, found {embedding_dim}")
    if head.startswith(STANDARDIZE):
        rest = build_head(features, embedding_dim, head.removeprefix(STANDARDIZE), init)
        return nn.Sequential(Standardize(features), *(rest if isinstance(rest, nn.Sequential) else [rest]))
    if head == "none":
        if embedding_dim != features:
            raise ValueError(f"model.embedding_dim: head none gives the {features} features, found {embedding_dim}")
        return nn.Identity()
    if head == "mlp":
        return nn.Sequential(
            build_head(features, features, "linear", init),
            nn.ReLU(),
            build_head(features, embedding_dim, "linear", init),
        )
    linear = nn.Linear(features, embedding_dim)
    if init == "kaiming":
        nn.init.kaiming_normal_(linear.weight, mode="fan_out")
    elif init == "orthogonal":
        nn.init.orthogonal_(linear.weight)
    if init != "default":
        nn.init.zeros_(linear.bias)
    if head == "linear":
        return linear
    if head == "linear+layernorm":
        return nn.Sequential(linear, nn.LayerNorm(embedding_dim, elementwise_affine=False))
    return nn.Sequential(linear, nn.BatchNorm1d(embedding_dim))


def in_place_of_linear(head: nn.Module, own: type[nn.Module], embedding_dim: int, settings: Mapping) -> nn.Module:
    """A head of `build_head`, "linear" or "standardize+linear", with a method's own in the place of its linear layer.

    Args:
        own: pfml.losses.common.method says what it is. settings: of the method's loss.
    """
    if isinstance(head, nn.Sequential):
        standardize, linear = head
        return nn.Sequential(standardize, own(linear.in_features, embedding_dim, settings))
    return own(head.in_features, embedding_dim, settings)


def _known(key: str, value: str, expected: tuple[str, ...]) -> None:
    if value not in expected:
        raise ValueError(f"model.{key}: unknown name {value!r}; expected one of: {', '.join(expected)}")
