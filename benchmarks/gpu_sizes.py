"""How large each part of benchmarks/gpu.py is: on a GPU, and in the miniature that tries the whole path on a CPU."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of the parts.

    Attributes:
        losses: (classes, M, D) of the loss's times. seconds: for each row of them. steps: of a step timed by number.
        images, side: of a batch of the ResNet-50 step.
        backbone, batch, epoch_steps, rounds: of the training rate.
        precision: of trainings, except the second half of the part `bits`.
        transform, short_side: of rate and bits; the check takes the transform of its weights.
        points: of the retrieval measures.
        epochs, check_batch: of the fine-tuned check.
        classes: of each half of the crops; None: all.
    """

    losses: tuple[tuple[int, int, int], ...]
    seconds: float
    steps: int
    images: int
    side: int
    backbone: str
    batch: int
    epoch_steps: int
    rounds: int
    precision: str
    transform: str
    short_side: int
    points: int
    epochs: int
    check_batch: int
    classes: int | None


FULL = Sizes(
    losses=((100, 15, 512), (800, 5, 512), (11318, 2, 512)),  # CUB-200, 4,100 points, Stanford Online Products
    seconds=3.0, steps=20, images=100, side=224, backbone="resnet50", batch=100, epoch_steps=40, rounds=3,
    precision="bfloat16", transform="proxy_anchor", short_side=256, points=60_502, epochs=20, check_batch=100,
    classes=None,
)  # fmt: skip
MINIATURE = Sizes(
    losses=((30, 3, 16),),
    seconds=0.1, steps=3, images=2, side=64, backbone="conv4", batch=10, epoch_steps=2, rounds=1,
    precision="float32", transform="small", short_side=72, points=2_000, epochs=1, check_batch=20, classes=6,
)  # fmt: skip
