"""What a training takes from its data before the first step: statistics of the features, the radius `auto`, proxies on
embeddings. All of it is of the training half, in evaluation mode, with the labels that the loss will see.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pfml.losses.common.radius import pair_distances, radius_of
from pfml.settings.run import Run
from pfml.training.batches.run_data import Half, RunData
from pfml.training.measure import embed
from pfml.training.networks.heads import Standardize
from pfml.training.networks.model import Embedder
from pfml.training.processes import Ranks


@dataclass(frozen=True)
class Start:
    """The start of a training.

    Attributes:
        loss: the settings of the loss, with numbers in the place of `auto`.
        distance: mean distance between unit embeddings of different classes, or None where it is not measured: it costs
            one pass over the images, which is nothing with a frozen trunk.
    """

    loss: Mapping
    distance: float | None = None


@torch.no_grad()
def standardize(model: Embedder, half: Half) -> None:
    """Set the statistics of a head that standardises its input, if the network has one."""
    for layer in model.head.modules():
        if isinstance(layer, Standardize):
            pictures = half.pictures.evaluation(500, layer.mean.device)
            layer.fit(torch.cat([model.features(images) for images in pictures]))


def measure_start(run: Run, model: Embedder, data: RunData, ranks: Ranks) -> Start:
    """The distances at the start, and the loss's settings with `auto` resolved.

    `delta_rep: auto` becomes pfml.losses.radius_at_start, at least delta.

    Raises:
        ValueError: `auto` with images of one class alone.
    """
    auto = run.loss.get("delta_rep") == "auto"
    if not auto and run.trunk == "fine_tune":
        return Start(run.loss)
    between, loss = pair_distances(embed(model, data.train.pictures, ranks), data.train.labels)[1], dict(run.loss)
    if auto:
        loss["delta_rep"] = max(radius_of(between), loss["delta"])
    return Start(loss, round(float(between.double().mean()), 6) if len(between) else None)


def initialize_proxies(loss: torch.nn.Module, run: Run, model: Embedder, data: RunData, ranks: Ranks) -> None:
    """Put the proxies on random embeddings of their classes (proxy_init: data)."""
    embeddings = embed(model, data.train.pictures, ranks).to(ranks.device)
    generator = torch.Generator().manual_seed(run.seed)
    loss.initialize_proxies(embeddings, data.train.labels.to(ranks.device), generator)
