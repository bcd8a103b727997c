"""Named presets from image to network input, their random draws, and normalisation.

Boxes are (n, 4) int64: top, left, height, width in pixels of the image. `crops` cuts and resizes the pixels.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
TRIES = 10  # draws of torchvision's RandomResizedCrop before it takes the central part


@dataclass(frozen=True)
class Transform:
    """Pixels to network input.

    Attributes:
        source: origin of the values.
        size: side in pixels of the square that the network sees; None keeps the size of the images.
        resize: short side in pixels to which evaluation resizes before it takes the central square.
        scale, ratio: smallest and largest share of the area, and width / height, of the random box in training.
        flip: probability of a mirror image in training.
        interpolation: "bilinear" or "bicubic", antialiased, in training and evaluation.
        order: of the channels, "RGB" or "BGR".
        white: divisor of the pixel values: 255 brings them to 0-1, 1 leaves them at 0-255.
        mean, std: values are then reduced by mean and divided by std, one a channel of `order`.
    """

    source: str
    size: int | None = 224
    resize: int | None = 256
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    interpolation: str = "bilinear"
    order: str = "RGB"
    white: float = 255.0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


_PROXY_ANCHOR = Transform("Proxy-Anchor code, dataset/utils.py; torchvision's ImageNet weights", **IMAGENET)
_HYP = replace(
    _PROXY_ANCHOR,
    source="Hyp (Ermolov et al., CVPR 2022) code, train.py; evaluation at 256 as its CUB command, other sets use 224",
    scale=(0.2, 1.0),
    interpolation="bicubic",
)
_HYP_224 = "Hyp code, eval_pretrain.py, for networks that no training changed: its default size"
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

TRANSFORMS = {
    "proxy_anchor": _PROXY_ANCHOR,
    "bn_inception": replace(
        _PROXY_ANCHOR, source="Proxy-Anchor code, dataset/utils.py, BN-Inception: weights ported from Caffe",
        order="BGR", white=1.0, mean=(104.0, 117.0, 128.0), std=(1.0, 1.0, 1.0),
    ),
    "mlrc": Transform(
        "A Metric Learning Reality Check, code (config_transforms): BN-Inception's Caffe pixels, 227 of them a side",
        size=227, scale=(0.16, 1.0), ratio=(0.75, 1.33), order="BGR", white=1.0, mean=(104.0, 117.0, 128.0),
        std=(1.0, 1.0, 1.0),
    ),
    "vit": replace(_PROXY_ANCHOR, source="crops of proxy_anchor; mean and std of timm's augreg ViT weights", **_HALF),
    "dino": replace(_PROXY_ANCHOR, source="crops of proxy_anchor; mean and std of the DINO weights (ImageNet's)"),
    "hyp_vit": replace(_HYP, **_HALF),
    "hyp_dino": _HYP,
    "hyp_vit_224": replace(_HYP, source=_HYP_224, resize=224, **_HALF),
    "hyp_dino_224": replace(_HYP, source=_HYP_224, resize=224),
    "vit_112": replace(
        _PROXY_ANCHOR, source="ours: vit at half the size, so that fine-tuning takes minutes on a CPU",
        size=112, resize=128, **_HALF,
    ),
    "small": Transform(
        "ours: small networks trained from scratch, in minutes on a CPU",
        size=64, resize=72, scale=(0.25, 1.0), std=(0.25, 0.25, 0.25),
    ),
    "small_characters": Transform(
        "ours: small without mirror images, for drawn characters such as Omniglot's (a mirrored one is another one)",
        size=64, resize=72, scale=(0.25, 1.0), flip=0.0, std=(0.25, 0.25, 0.25),
    ),
    "shift": Transform(
        "ours: images all of one size, such as the embedded dataset's; a random shift by less than the border instead "
        "of a box, no mirror images (a mirrored character is another one)",
        size=None, resize=None, flip=0.0, std=(0.25, 0.25, 0.25),
    ),
}  # fmt: skip


def normalize(images: Tensor, transform: Transform, out: Tensor | None = None) -> Tensor:
    """(n, 3, h, w) uint8 RGB to float32 in the transform's order and range, into `out` if given; on any device."""
    if transform.order == "BGR":
        images = images.flip(1)
    if out is None:
        out = torch.empty(images.shape, device=images.device)
    mean, std = _mean_and_std(transform, out.device)
    return out.copy_(images).div_(transform.white).sub_(mean).div_(std)


@lru_cache
def _mean_and_std(transform: Transform, device: torch.device) -> tuple[Tensor, Tensor]:
    """(3, 1, 1) each. Cached, since a copy to a GPU waits for its running work."""
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (transform.mean, transform.std))
    return mean, std


def random_boxes(heights: Tensor, widths: Tensor, transform: Transform, generator: torch.Generator) -> Tensor:
    """One box (n, 4) for each of n images of these (n,) int64 sizes, with torchvision's RandomResizedCrop distribution.

    The share of the area is uniform in `scale`, the log of width / height uniform in log `ratio`, the place uniform in
    the image. The first of ten tries that fits counts; if none fits, the largest central box whose width / height is
    within `ratio`. The count of drawn numbers depends on n alone.
    """
    draws = torch.rand(4, TRIES, len(heights), generator=generator, dtype=torch.float64)
    low, high = transform.scale
    area = heights * widths * (low + (high - low) * draws[0])
    low, high = (math.log(bound) for bound in transform.ratio)
    aspect = torch.exp(low + (high - low) * draws[1])
    w, h = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    fits = (w > 0) & (w <= widths) & (h > 0) & (h <= heights)
    tried = torch.stack([(draws[2] * (heights - h + 1)).long(), (draws[3] * (widths - w + 1)).long(), h, w], dim=-1)
    first = tried[fits.int().argmax(0), torch.arange(len(heights))]
    return torch.where(fits.any(0)[:, None], first, _central(heights, widths, transform.ratio))


def _central(heights: Tensor, widths: Tensor, ratio: tuple[float, float]) -> Tensor:
    h = torch.minimum((widths.double() / min(ratio)).round().long(), heights)
    w = torch.minimum((heights.double() * max(ratio)).round().long(), widths)
    return torch.stack([(heights - h) // 2, (widths - w) // 2, h, w], dim=1)


def center_boxes(heights: Tensor, widths: Tensor, size: int) -> Tensor:
    """The central square of `size` pixels of each image, as torchvision's CenterCrop takes it.

    Raises:
        ValueError: an image is smaller.
    """
    if len(heights) and min(heights.min(), widths.min()) < size:
        raise ValueError(f"size: expected images of at least {size} pixels a side, found {heights.min()}")
    top, left = (((extent - size) / 2).round().long() for extent in (heights, widths))
    return torch.stack([top, left, *torch.full((2, len(heights)), size)], dim=1)


def flips(n: int, p: float, generator: torch.Generator) -> Tensor:
    """(n,) bool, true with probability p."""
    return torch.rand(n, generator=generator) < p


def shifts(n: int, padding: int, generator: torch.Generator) -> Tensor:
    """Random offsets (2, n) int64 in -padding ... padding, in pixels down and right, for `shifted`."""
    return torch.randint(0, 2 * padding + 1, (2, n), generator=generator) - padding


def shifted(images: Tensor, by: Tensor) -> Tensor:
    """Images (n, c, h, w) of any type, each moved by its offset in `by` (2, n); edge pixels repeat beyond the edge."""
    height, width = images.shape[2:]
    top, left = by[:, :, None]
    rows = (top + torch.arange(height)).clamp(0, height - 1)
    columns = (left + torch.arange(width)).clamp(0, width - 1)
    # Two gathers take half the time of one index with four tensors.
    moved = images.gather(2, rows[:, None, :, None].expand_as(images))
    return moved.gather(3, columns[:, None, None, :].expand_as(images))
