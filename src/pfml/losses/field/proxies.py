"""Where the proxies start."""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
from torch import Tensor, nn

ProxyInit = Literal["random", "kaiming", "data"]


def random_proxies(num_classes: int, per_class: int, embedding_dim: int, length: float, init: str) -> Tensor:
    """Random directions (N, M, D). Only the direction acts; the length sets how far one optimizer step turns it.

    `kaiming` (fan_out over all of them, as in Proxy Anchor) has a length of its own, the others have about `length`.
    """
    proxies = torch.empty(num_classes, per_class, embedding_dim)
    if proxies.numel() and init == "kaiming":
        nn.init.kaiming_normal_(proxies.view(-1, embedding_dim), mode="fan_out")
    elif proxies.numel():
        nn.init.normal_(proxies, std=length / math.sqrt(embedding_dim))
    return proxies


def draw_members(
    labels: Tensor, num_classes: int, per_class: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """M random embeddings of each class that has any: classes (k,), and their rows (k, M); both on the CPU.

    labels (n,) on the CPU. With replacement in a class of fewer than M. Warns of classes without any.
    """
    present, sizes = labels.unique(return_counts=True)
    if len(present) < num_classes:
        warnings.warn(
            f"{num_classes - len(present)} of {num_classes} classes have no embedding: their proxies keep random "
            "directions (give embeddings of all training classes to start each at its own)",
            stacklevel=3,
        )
    rows = []
    for members in torch.argsort(labels, stable=True).split(sizes.tolist()):
        if len(members) >= per_class:
            some = torch.randperm(len(members), generator=generator, device="cpu")[:per_class]
        else:
            some = torch.randint(len(members), (per_class,), generator=generator, device="cpu")
        rows.append(members[some])
    return present, torch.stack(rows)
