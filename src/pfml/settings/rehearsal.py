"""Try every loss of the configuration on one batch of random embeddings, so that an error in its settings or its
sampler shows before the first image is fetched, and not hours later.
"""

import json
from collections.abc import Iterable

from pfml.losses import LOSSES
from pfml.settings import ConfigError
from pfml.settings.run import Run, without_auto


def rehearse_losses(runs: Iterable[Run], path="params.yaml") -> int:
    """Build each distinct loss of the runs and call it on a batch like those of its sampler. A random sampler always
    passes, since class sizes are not known yet.

    Returns:
        the number of distinct losses.

    Raises:
        ConfigError: a loss refuses its settings or its batch; names the method and the key.
    """
    different = {}
    for run in runs:
        if not LOSSES[run.loss_name].trains:
            continue
        batch = {key: run.train[key] for key in ("sampler", "batch", "images_per_class")}
        different.setdefault(json.dumps([run.loss_name, run.loss, batch, run.dim], default=str), (run, batch))
    for run, batch in different.values():
        try:
            _rehearse(run, batch)
        except ValueError as error:
            raise ConfigError(f"{path}: {run.method}: {error}") from None
    return len(different)


def _rehearse(run: Run, batch: dict) -> None:
    import torch

    from pfml.losses import build_loss
    from pfml.losses.common.method import row_width
    from pfml.losses.common.sampling import check_sampler

    check_sampler(run.loss_name, LOSSES[run.loss_name], **batch)
    labels = torch.arange(batch["batch"]) // max(batch["images_per_class"], 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loss = build_loss(run.loss_name, int(labels.max()) + 1, run.dim, **without_auto(run.loss))
        embeddings = torch.randn(len(labels), row_width(LOSSES[run.loss_name], run.dim))
        if run.loss.get("proxy_init") == "data":
            loss.initialize_proxies(embeddings, labels)
        loss(embeddings, labels)
