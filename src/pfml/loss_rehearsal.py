"""Every loss of the configuration on one batch of random embeddings: what its settings or its sampler lack shows before
the first image is fetched, and not hours later in the run that needs it.
"""

import json
from collections.abc import Iterable

from pfml.cell import Cell
from pfml.settings.validation import ConfigError


def rehearse_losses(cells: Iterable[Cell], path="params.yaml") -> int:
    """Build the loss of each cell and give it a batch as its sampler would; equal ones once. Class sizes are not known
    yet, so a random sampler passes here.

    Returns:
        how many losses there are.

    Raises:
        ConfigError: settings or batches that a loss refuses; names the method and the key.
    """
    different = {}
    for cell in cells:
        batch = {key: cell.train[key] for key in ("sampler", "batch", "images_per_class")}
        different.setdefault(json.dumps([cell.loss_name, cell.loss, batch, cell.dim], default=str), (cell, batch))
    for cell, batch in different.values():
        try:
            _rehearse(cell, batch)
        except ValueError as error:
            raise ConfigError(f"{path}: {cell.method}: {error}") from None
    return len(different)


def _rehearse(cell: Cell, batch: dict) -> None:
    import torch

    from pfml.losses import build_loss
    from pfml.losses.sampling import check_sampler

    check_sampler(cell.loss_name, **batch)
    labels = torch.arange(batch["batch"]) // max(batch["images_per_class"], 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loss = build_loss(cell.loss_name, int(labels.max()) + 1, cell.dim, **cell.loss)
        embeddings = torch.randn(len(labels), cell.dim)
        if cell.loss.get("proxy_init") == "data":
            loss.initialise_proxies(embeddings, labels)
        loss(embeddings, labels)
