"""What a step of the PFML loss is timed on: points in motion, batches, eager autograd of the same formula, and a clock.

There are two scenes. `cone` is the start of training with proxies copied from data: all embeddings are in a narrow
cone, most pairs repel, and the points stay where they are. `settled` has tight classes apart from each other, where
almost no pair repels: the batch changes with every step and Adam moves the proxies (learning rate 0.01), so that the
list of near pairs has to follow them.
"""

import math
import os
import time

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pfml.losses.field.potential_field import PotentialFieldLoss

BATCH, PER_CLASS = 100, 4


class Scene:
    """A loss, its batches and the motion of its proxies. All numbers are drawn on the CPU: equal on every device."""

    def __init__(self, kind: str, classes: int, proxies: int, dim: int, device: str = "cpu"):
        self.draw = torch.Generator().manual_seed(0)
        self.kind, self.dim, self.device = kind, dim, device
        self.loss = PotentialFieldLoss(classes, dim, proxies)
        self.axis = normalize(self.randn(1, dim), dim=1)
        self.centers = normalize(self.randn(classes, dim), dim=1)
        places = self.axis if kind == "cone" else self.centers[:, None]
        self.loss.proxies.data = (places + 0.15 * self.randn(classes, proxies, dim)) * math.sqrt(dim)
        self.loss.to(device)
        self.optimizer = torch.optim.Adam(self.loss.parameters(), lr=0.01 if kind == "settled" else 0.0)

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.draw) / math.sqrt(self.dim)

    def batch(self) -> tuple[Tensor, Tensor]:
        classes = torch.randperm(len(self.centers), generator=self.draw)[: BATCH // PER_CLASS]
        labels = classes.repeat_interleave(PER_CLASS)
        places = self.axis if self.kind == "cone" else self.centers[labels]
        embeddings = (places + 0.2 * self.randn(BATCH, self.dim)).to(self.device)
        return embeddings.requires_grad_(), labels.to(self.device)


def eager_energy(loss: PotentialFieldLoss, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Eq. 6 in excess form, with a full distance matrix."""
    law = loss.law
    proxies = loss.proxies.flatten(0, 1).to(embeddings.dtype)
    points = torch.cat([normalize(embeddings, dim=1), normalize(proxies, dim=1)])
    owners = torch.arange(loss.num_classes, device=labels.device).repeat_interleave(loss.proxies_per_class)
    classes = torch.cat([labels, owners])
    d2 = 2 - 2 * points @ points.T
    attraction = law.delta**-law.alpha - d2.clamp(min=law.delta**2).pow(-law.alpha / 2)
    repulsion = d2.clamp(law.eps**2, law.delta_rep**2).pow(-law.alpha / 2) - law.delta_rep**-law.alpha
    pairs = torch.where(classes[:, None] == classes[None, :], attraction, repulsion)
    return pairs.fill_diagonal_(0).sum()


def step(energy, parameters: list[Tensor], embeddings: Tensor, labels: Tensor) -> float:
    """Seconds of forward and backward; the gradients stay on the tensors."""
    embeddings.grad = None
    for parameter in parameters:
        parameter.grad = None
    wait(embeddings)
    start = time.perf_counter()
    energy(embeddings, labels).backward()
    wait(embeddings)
    return time.perf_counter() - start


def wait(tensor: Tensor) -> None:
    """A GPU works behind the program's back; wait until it is done."""
    if tensor.is_cuda:
        torch.cuda.synchronize()


def plain_torch(loss: PotentialFieldLoss):
    """The loss on a GPU without its kernel: the code that a CPU runs."""

    def energy(embeddings: Tensor, labels: Tensor) -> Tensor:
        os.environ["PFML_TRITON"] = "0"
        try:
            return loss(embeddings, labels)
        finally:
            del os.environ["PFML_TRITON"]

    return energy


def gradient(scene: Scene, embeddings: Tensor) -> Tensor:
    return torch.cat([embeddings.grad, scene.loss.proxies.grad.flatten(0, 1)])
