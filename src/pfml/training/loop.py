"""Train one run: batch -> embed -> energy -> step; measure and checkpoint after each epoch."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pfml.losses import LOSSES, build_loss
from pfml.losses.common.method import method_of
from pfml.losses.common.sampling import check_sampler
from pfml.settings.run import Run
from pfml.training.batches.run_data import RunData
from pfml.training.measure import embed, measure, wrong_labels
from pfml.training.method import epoch_images, fill_memory
from pfml.training.networks.model import freeze_batchnorm
from pfml.training.networks.trunk import build_trained_part
from pfml.training.optimizer import Average, build_optimizer, clip_gradients, drop_gradients, learning_rate, set_rates
from pfml.training.processes import Ranks
from pfml.training.reproducible import random_state, restore_random, set_determinism
from pfml.training.start import Start, initialize_proxies, measure_start, standardize

SCORES = {"best_validation": "val_map@r", "best_test": "recall@1"}  # train.select -> score of the selected epoch


@dataclass
class Trained:
    """A finished run.

    Attributes:
        model, loss: of the selected epoch; the loss contains the proxies.
        history: a row per epoch.
        epoch: the selected epoch, from 1.
        passed: (n, D) embeddings of the selected epoch as the loss saw them: in training mode, of augmented images, in
            the order of the batches, while the network changed.
        passed_labels: (n,).
        start: how the embeddings lay before the first step, and the loss's settings.
    """

    model: torch.nn.Module
    loss: torch.nn.Module
    history: list[dict]
    epoch: int
    passed: torch.Tensor
    passed_labels: torch.Tensor
    start: Start


class Interrupted(RuntimeError):
    """The run was stopped between two steps. Its last checkpoint remains."""


def train(
    run: Run,
    data: RunData,
    state: dict | None = None,
    save: Callable[[dict], None] = lambda state: None,
    report: Callable[[list[dict]], None] = lambda history: None,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks | None = None,
    label_fit_every: int = 0,
) -> Trained:
    """Train a run from its start or from a saved state.

    The same run gives the same bits on one kind of machine; on a GPU only with train.deterministic and without
    train.compile, which chooses kernels by their speed.

    Args:
        run: settings (run.train, run.model, run.loss).
        data: labels may be noisy in data.train only.
        state: the last state that `save` got, from which training continues.
        save: called with all that a resumed run needs, after every epoch, and every train.checkpoint_steps steps.
        report: called after every epoch with the history so far.
        stop: called before every step; True raises Interrupted.
        ranks: the processes of a distributed run.
        label_fit_every: number of epochs between two measurements of fitted and resisted wrong labels (columns of the
            history); 0: none. The measurements do not change the training by a bit.

    Raises:
        ValueError: batches that the loss cannot learn from (pfml.losses.common.sampling).
        FloatingPointError: the loss or the embeddings are not finite; says where, and usual causes.
        Interrupted: see `stop`.
    """
    # --- set up: device, network, loss, optimizer
    recipe = run.train
    ranks = ranks or Ranks(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    device = ranks.device
    counts = torch.bincount(data.train.labels).tolist()
    check_sampler(
        run.loss_name, LOSSES[run.loss_name], recipe["sampler"], recipe["batch"], recipe["images_per_class"], counts
    )
    torch.set_num_threads(recipe["threads"])
    if device.type == "cuda":  # the CPU needs only a fixed number of threads, and this call takes seconds of imports
        set_determinism(recipe["deterministic"])
    torch.manual_seed(run.seed)
    model = build_trained_part(run, data.train.pictures).to(device, memory_format=torch.channels_last)
    standardize(model, data.train)
    start = measure_start(run, model, data, ranks)
    loss = build_loss(run.loss_name, data.num_classes, run.dim, **start.loss).to(device)
    if hasattr(loss, "gather"):
        loss.gather = "off"  # this loop joins the embeddings of all ranks, for every loss
    if run.loss.get("proxy_init") == "data" and state is None:
        initialize_proxies(loss, run, model, data, ranks)
    freeze_batchnorm(model, recipe["freeze_bn"])
    method = method_of(loss)  # what it asks for beyond batches, which of most losses is nothing
    method.attach(model)
    optimizer = build_optimizer(model, loss, recipe)
    # The scale starts at 1 and grows fast. The default of 65,536 suits means; a sum would overflow in its first steps.
    scaler = torch.amp.GradScaler(
        device.type, init_scale=1.0, growth_interval=100, enabled=recipe["precision"] == "float16"
    )
    average = Average(model, recipe["ema"]) if recipe["ema"] else None
    history, best, steps = [], None, recipe["steps_per_epoch"] or max(1, len(data.train.labels) // recipe["batch"])
    unfinished = 0, 0.0, 0.0  # of a resumed epoch: finished steps, the sum of their losses, their seconds
    passed = []  # (embeddings, labels) of each batch of the epoch
    # --- resume
    if state is not None:
        for name, holder in (("model", model), ("loss", loss), ("optimizer", optimizer), ("scaler", scaler)):
            holder.load_state_dict(state[name])
        history, best = state["history"], state["best"]
        if average:
            average.weights = {name: weights.to(device) for name, weights in state["average"].items()}
        unfinished, passed = state["unfinished"], state["passed"]
        restore_random(state["random"], device)
    elif method.remembered:
        fill_memory(method, run, data, ranks)
    network = ranks.wrapped(model, recipe["sync_bn"])
    if recipe["compile"]:
        network = torch.compile(network)

    def snapshot(steps_done: int = 0, total: float | torch.Tensor = 0.0, seconds: float = 0.0) -> dict:
        """All that a resumed run needs."""
        parts = {"model": model, "loss": loss, "optimizer": optimizer, "scaler": scaler}
        return {name: part.state_dict() for name, part in parts.items()} | {
            "average": average and average.weights, "best": best, "history": history,
            "unfinished": (steps_done, float(total), seconds), "passed": passed[:], "random": random_state(device),
        }  # fmt: skip

    # --- train
    for epoch in range(len(history), recipe["epochs"]):
        if patience_is_out(history, recipe["patience"]):
            break
        (first, total, seconds), unfinished = unfinished, (0, 0.0, 0.0)
        passed = passed if first else []
        started = time.perf_counter() - seconds
        if method.looks(epoch) and not first:
            method.look(epoch, embed(model, data.train.pictures, ranks).to(device), data.train.labels.to(device))
        network.train()
        freeze_batchnorm(model, recipe["freeze_bn"])
        ranks.broadcast(loss.parameters())
        pictures = epoch_images(method, run, data, ranks, epoch, steps, first)
        for step, (batch, images, others) in enumerate(pictures, first):
            if ranks.any(stop()):
                raise Interrupted(f"{run.name}: stopped in epoch {epoch + 1}")
            factor = learning_rate(
                epoch * steps + step, recipe["epochs"] * steps, recipe["warmup"], recipe["schedule"],
                recipe["step_epochs"] * steps, recipe["step_factor"], recipe["step_times"],
            )  # fmt: skip
            set_rates(optimizer, factor)
            with autocast(device, recipe["precision"]):
                embeddings = network(images.contiguous(memory_format=torch.channels_last))
                keys = () if others is None else (method.keys(others),)
            embeddings = ranks.joined(embeddings.float(), len(batch))
            keys = [ranks.joined(one.float(), len(batch)) for one in keys]
            if not embeddings.isfinite().all():  # the loss would call them bad input
                raise FloatingPointError(_diverged(run, epoch, step, "the embeddings became NaN or infinite", history))
            passed.append((method.embedding(embeddings.detach()).cpu(), data.train.labels[batch]))
            energy = loss(embeddings, data.train.labels[batch].to(device, non_blocking=True), *keys)
            if not energy.isfinite():
                raise FloatingPointError(_diverged(run, epoch, step, f"the loss became {energy.item()}", history))
            optimizer.zero_grad()
            scaler.scale(energy).backward()
            scaler.unscale_(optimizer)
            if epoch < recipe["frozen_epochs"]:
                drop_gradients(model.backbone)
            clip_gradients(model, loss, recipe)
            scaler.step(optimizer)
            scaler.update()
            method.after_step(model)
            if average:
                average.update(model)
            total += energy.detach().double()  # stays on the device, which then need not wait for the host
            if recipe["checkpoint_steps"] and (step + 1) % recipe["checkpoint_steps"] == 0 and step + 1 < steps:
                save(snapshot(step + 1, total, time.perf_counter() - started))
        # --- measure and save, after each epoch
        row = {"epoch": epoch + 1, "loss": float(total) / steps, "lr": recipe["lr"] * factor}
        if average:
            average.exchange(model)
        if (epoch + 1) % recipe["eval_every"] == 0 or epoch + 1 == recipe["epochs"]:
            row |= measure(model, data, ranks)
            best = better(best, row, SCORES.get(recipe["select"]), model, loss, passed)
        if label_fit_every and ((epoch + 1) % label_fit_every == 0 or epoch + 1 == recipe["epochs"]):
            row |= wrong_labels(model, data, ranks)
        if average:
            average.exchange(model)
        row["seconds"] = (history[-1]["seconds"] if history else 0.0) + time.perf_counter() - started
        history.append(row)
        save(snapshot())
        report(history)
    # --- keep the selected epoch
    if average:
        average.exchange(model)
    if best:
        model.load_state_dict(best["model"])
        loss.load_state_dict(best["loss"])
    passed, passed_labels = map(torch.cat, zip(*(best["passed"] if best else passed)))
    return Trained(model, loss, history, best["epoch"] if best else len(history), passed, passed_labels, start)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """A context in which the network runs in `precision`. Losses always run in float32."""
    kind = torch.float16 if precision == "float16" else torch.bfloat16
    return torch.autocast(device.type, kind, enabled=precision != "float32")


def patience_is_out(history: list[dict], patience: int) -> bool:
    """Whether the last `patience` measurements on the validation classes gave no better MAP@R; never if 0."""
    scores = [row["val_map@r"] for row in history if "val_map@r" in row]
    return bool(patience) and len(scores) > patience and max(scores[-patience:]) <= max(scores[:-patience])


def better(
    best: dict | None, row: dict, score: str | None, model: torch.nn.Module, loss: torch.nn.Module, passed: list
) -> dict | None:
    """The best epoch so far (network, loss, passed batches): this one if its score is higher, else `best`."""
    if score is None or (best and best["score"] >= row[score]):
        return best
    copies = {
        name: {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
        for name, module in (("model", model), ("loss", loss))
    }
    return {"epoch": row["epoch"], "score": row[score], "passed": passed, **copies}


def _diverged(run: Run, epoch: int, step: int, what: str, history: list[dict]) -> str:
    recent = ", ".join(f"{row['loss']:.4g}" for row in history[-3:]) or "none yet"
    return (
        f"{run.name}: {what} in epoch {epoch + 1}, step {step + 1} (mean loss of the epochs before: "
        f"{recent}). Usual causes: learning rate too high, no gradient clipping (train.clip_norm), alpha too steep."
    )
