"""Training one cell: batch -> embed -> energy -> step, measure and checkpoint after each epoch."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pfml.cell import Cell
from pfml.data.loader import Half, RunData
from pfml.data.pictures import Pictures
from pfml.data.samplers import epoch_batches
from pfml.losses import build_loss
from pfml.models import build_model
from pfml.retrieval import retrieval_metrics

EVALUATION_PIXELS = 100 * 224 * 224  # of one batch; more would need gigabytes for the activations of a large network


@dataclass
class Trained:
    """What a finished run leaves: the network, the loss (with its proxies) and one history row per epoch."""

    model: torch.nn.Module
    loss: torch.nn.Module
    history: list[dict]


class Interrupted(RuntimeError):
    """The run was asked to stop between two steps; what its last checkpoint holds is not lost."""


def train(
    cell: Cell,
    data: RunData,
    state: dict | None = None,
    save: Callable[[dict], None] = lambda state: None,
    report: Callable[[list[dict]], None] = lambda history: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train a cell from its start or from a saved state; the same cell gives the same bits on one kind of machine.

    Args:
        cell: settings (cell.train, cell.model, cell.loss).
        data: labels may be noisy in data.train only.
        state: what `save` was last given, to go on from there.
        save: called after every epoch with all that a resumed run needs.
        report: called after every epoch with the history so far.
        stop: asked before every step; True raises Interrupted.

    Raises:
        FloatingPointError: the loss is not finite; tells where and what usually helps.
        Interrupted: see `stop`.
    """
    recipe = cell.train
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(recipe["threads"])
    if device.type == "cuda":  # on the CPU a fixed number of threads is enough, and this call imports for seconds
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(cell.seed)
    model = build_model(**cell.model).to(device, memory_format=torch.channels_last)
    loss = build_loss(cell.loss_name, data.num_classes, cell.dim, **cell.loss).to(device)
    if cell.loss.get("proxy_init") == "data" and state is None:
        generator = torch.Generator().manual_seed(cell.seed)
        loss.initialise_proxies(embed(model, data.train.pictures).to(device), data.train.labels.to(device), generator)
    optimizer = build_optimizer(model, loss, recipe)
    history, steps = [], recipe["steps_per_epoch"] or max(1, len(data.train.labels) // recipe["batch"])
    if state is not None:
        model.load_state_dict(state["model"])
        loss.load_state_dict(state["loss"])
        optimizer.load_state_dict(state["optimizer"])
        history = state["history"]

    for epoch in range(len(history), recipe["epochs"]):
        started, total = time.perf_counter(), 0.0
        model.train()
        batches = epoch_batches(
            data.train.labels, recipe["sampler"], recipe["batch"], steps, recipe["images_per_class"], cell.seed, epoch
        )
        for step, (batch, images) in enumerate(data.train.pictures.training(batches, cell.seed, epoch, device)):
            if stop():
                raise Interrupted(f"{cell.name}: stopped in epoch {epoch + 1}")
            factor = learning_rate(epoch * steps + step, recipe["epochs"] * steps, recipe["warmup"], recipe["schedule"])
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe["precision"] == "bfloat16"):
                embeddings = model(images.contiguous(memory_format=torch.channels_last))
            energy = loss(embeddings.float(), data.train.labels[batch].to(device))
            if not energy.isfinite():
                raise FloatingPointError(_diverged(cell, epoch, step, energy.item(), history))
            optimizer.zero_grad()
            energy.backward()
            if recipe["clip_norm"]:
                for group in optimizer.param_groups if recipe["clip_proxies"] else optimizer.param_groups[:1]:
                    torch.nn.utils.clip_grad_norm_(group["params"], recipe["clip_norm"])
            optimizer.step()
            total += energy.item()
        row = {"epoch": epoch + 1, "loss": total / steps, "lr": recipe["lr"] * factor}
        if (epoch + 1) % recipe["eval_every"] == 0 or epoch + 1 == recipe["epochs"]:
            row |= measure(model, data)
        row["seconds"] = (history[-1]["seconds"] if history else 0.0) + time.perf_counter() - started
        history.append(row)
        save(
            {
                "model": model.state_dict(),
                "loss": loss.state_dict(),
                "optimizer": optimizer.state_dict(),
                "history": history,
            }
        )
        report(history)
    return Trained(model, loss, history)


def learning_rate(step: int, steps: int, warmup: float, schedule: str) -> float:
    """Factor in (0, 1] on the peak rates: linear over the first warmup * steps, then cosine to zero or constant."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (math.floor(rising) + 1)
    if schedule == "none":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))


def build_optimizer(model: torch.nn.Module, loss: torch.nn.Module, recipe: dict) -> torch.optim.Optimizer:
    """Network and loss parameters (proxies) in one group each: rate lr with decay, rate proxy_lr without."""
    groups = [{"params": list(model.parameters()), "peak_lr": recipe["lr"], "weight_decay": recipe["weight_decay"]}]
    proxies = [p for p in loss.parameters() if p.numel()]
    if proxies:
        groups.append({"params": proxies, "peak_lr": recipe["proxy_lr"], "weight_decay": 0.0})
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe["optimizer"]]
    return kind(groups, lr=recipe["lr"])


@torch.no_grad()
def embed(model: torch.nn.Module, pictures: Pictures, batch: int | None = None) -> torch.Tensor:
    """Embeddings (n, D) float32 on the CPU of n pictures, in evaluation mode, without augmentation."""
    device = next(model.parameters()).device
    model.eval()
    batch = batch or min(500, EVALUATION_PIXELS // pictures.side**2)
    parts = [
        model(images.contiguous(memory_format=torch.channels_last)).float().cpu()
        for images in pictures.evaluation(batch, device)
    ]
    return torch.cat(parts)


def measure(model: torch.nn.Module, data: RunData) -> dict[str, float]:
    """recall@1 and map@r on the test half, or val_recall@1 and val_map@r where validation classes are held out."""

    def metrics(half: Half, prefix: str) -> dict[str, float]:
        found = retrieval_metrics(embed(model, half.pictures), half.labels, ks=(1,), backend="torch")
        return {prefix + name: found[name] for name in ("recall@1", "map@r")}

    # While settings are being chosen the test half stays unseen.
    return metrics(data.validation, "val_") if data.validation else metrics(data.test, "")


def _diverged(cell: Cell, epoch: int, step: int, value: float, history: list[dict]) -> str:
    recent = ", ".join(f"{row['loss']:.4g}" for row in history[-3:]) or "none yet"
    return (
        f"{cell.name}: the loss became {value} in epoch {epoch + 1}, step {step + 1} (mean loss of the epochs before: "
        f"{recent}). Usual causes: learning rate too high, no gradient clipping (train.clip_norm), alpha too steep."
    )
