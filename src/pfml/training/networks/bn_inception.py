"""BN-Inception (Ioffe & Szegedy, Batch Normalization, ICML 2015, arXiv 1502.03167), as deep metric learning uses it.

The network is the Caffe model that Proxy-Anchor, SoftTriple, HIST and PFML fine-tune; its PyTorch conversion is
`bn_inception-52deb4733.pth` of Cadene's pretrained-models.pytorch. Layer names here are the names in that file. Its
classifier `last_linear` is not part of this module.

Input: BGR, 0 to 255, minus (104, 117, 128), as in Caffe.
"""

from typing import NamedTuple

import torch
from torch import nn


class Block(NamedTuple):
    """Output channels of one inception block. Its branches, joined in this order:

    1x1 | 3x3_reduce (1x1), 3x3 | double_3x3_reduce (1x1), double_3x3_1, double_3x3_2 | pool, pool_proj (1x1).

    Without `one` and `proj` the block halves the map: both 3x3 branches end with stride 2, and the pooled input is
    passed on as it is.
    """

    name: str
    one: int | None
    three: tuple[int, int]
    double: tuple[int, int]
    pool: str
    proj: int | None


BLOCKS = (
    Block("3a", 64, (64, 64), (64, 96), "avg", 32),
    Block("3b", 64, (64, 96), (64, 96), "avg", 64),
    Block("3c", None, (128, 160), (64, 96), "max", None),
    Block("4a", 224, (64, 96), (96, 128), "avg", 128),
    Block("4b", 192, (96, 128), (96, 128), "avg", 128),
    Block("4c", 160, (128, 160), (128, 160), "avg", 128),
    Block("4d", 96, (128, 192), (160, 192), "avg", 128),
    Block("4e", None, (128, 192), (192, 256), "max", None),
    Block("5a", 352, (192, 320), (160, 224), "avg", 128),
    Block("5b", 352, (192, 320), (192, 224), "max", 128),
)


class BNInception(nn.Module):
    """Images (n, 3, h, w) -> last feature map (n, 1024, h/32, w/32), not pooled.

    Args:
        bn_momentum: weight of the new batch in BatchNorm's running statistics; unused if these are frozen. 0.1 is
            Caffe's moving average of 0.9, and the conversion's value since this checkpoint. The code of Proxy-Anchor
            and HIST has 0.9, the conversion's earlier value.
    """

    num_features = 1024

    def __init__(self, bn_momentum: float = 0.1):
        super().__init__()
        self.bn_momentum = bn_momentum
        self._add("conv1_7x7_s2", 3, 64, 7, stride=2)
        self._add("conv2_3x3_reduce", 64, 64, 1)
        self._add("conv2_3x3", 64, 192, 3)
        channels = 192
        for block in BLOCKS:
            channels = self._add_block(block, channels)
        # Caffe rounds the size of a pooled map up.
        self.halve = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        average = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=True)
        self.pools = nn.ModuleDict({"avg": average, "max": nn.MaxPool2d(3, stride=1, padding=1)})

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Raises ValueError if the map's size is odd at the halving blocks 3c and 4e."""
        x = self.halve(self._apply_layers(x_NCHW, "conv1_7x7_s2"))
        x = self.halve(self._apply_layers(x, "conv2_3x3_reduce", "conv2_3x3"))
        for block in BLOCKS:
            x = self.apply_block(x, block)
        return x

    def apply_block(self, x: torch.Tensor, block: Block) -> torch.Tensor:
        """(n, c, h, w) -> (n, c', h, w), or (n, c', h/2, w/2) for a halving block."""
        name = f"inception_{block.name}"
        if block.one is None and (x.shape[2] % 2 or x.shape[3] % 2):
            # The convolutions round an odd size down, the pooling rounds it up: the branches would not fit together.
            raise ValueError(
                f"bn_inception: block {block.name} halves its map, found an odd one of {tuple(x.shape[2:])}; "
                "expected images of 224x224 or another size whose maps stay even (a multiple of 32)"
            )
        branches = [
            self._apply_layers(x, f"{name}_3x3_reduce", f"{name}_3x3"),
            self._apply_layers(x, *(f"{name}_double_3x3_{layer}" for layer in ("reduce", "1", "2"))),
        ]
        if block.one is None:
            return torch.cat([*branches, self.halve(x)], 1)
        pooled = self.pools[block.pool](x)
        return torch.cat(
            [self._apply_layers(x, f"{name}_1x1"), *branches, self._apply_layers(pooled, f"{name}_pool_proj")], 1
        )

    def _apply_layers(self, x: torch.Tensor, *names: str) -> torch.Tensor:
        for name in names:
            x = self.get_submodule(f"{name}_bn")(self.get_submodule(name)(x)).relu_()
        return x

    def _add(self, name: str, before: int, after: int, size: int, stride: int = 1) -> None:
        """A convolution with bias and its BatchNorm."""
        self.add_module(name, nn.Conv2d(before, after, size, stride, padding=size // 2))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(after, eps=1e-5, momentum=self.bn_momentum))

    def _add_block(self, block: Block, before: int) -> int:
        name, halving = f"inception_{block.name}", block.one is None
        stride, (reduce, three), (double_reduce, double) = 1 + halving, block.three, block.double
        if not halving:
            self._add(f"{name}_1x1", before, block.one, 1)
        self._add(f"{name}_3x3_reduce", before, reduce, 1)
        self._add(f"{name}_3x3", reduce, three, 3, stride)
        self._add(f"{name}_double_3x3_reduce", before, double_reduce, 1)
        self._add(f"{name}_double_3x3_1", double_reduce, double, 3)
        self._add(f"{name}_double_3x3_2", double, double, 3, stride)
        if not halving:
            self._add(f"{name}_pool_proj", before, block.proj, 1)
        return three + double + (before if halving else block.one + block.proj)
