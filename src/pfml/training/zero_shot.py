"""Measure a network that no training changes: its pretrained weights, without a new head."""

from collections.abc import Callable

import torch

from pfml.losses import build_loss
from pfml.settings.run import Run
from pfml.training.batches.run_data import RunData
from pfml.training.loop import Trained
from pfml.training.measure import measure
from pfml.training.networks.trunk import build_trained_part
from pfml.training.processes import Ranks
from pfml.training.start import Start


def measure_untrained(run: Run, data: RunData, report: Callable[[list[dict]], None], ranks: Ranks) -> Trained:
    """The run of a loss that trains nothing, in the form of a training; its history has one row, of epoch 0."""
    torch.set_num_threads(run.train["threads"])
    model = build_trained_part(run, data.train.pictures).to(ranks.device, memory_format=torch.channels_last)
    loss = build_loss(run.loss_name, data.num_classes, run.dim, **run.loss)
    history = [{"epoch": 0, "loss": 0.0, "lr": 0.0, **measure(model, data, ranks), "seconds": 0.0}]
    report(history)
    return Trained(model, loss, history, 0, torch.empty(0, run.dim), torch.empty(0, dtype=torch.int64), Start(run.loss))
