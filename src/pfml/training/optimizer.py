"""Parameter groups and their rates, learning-rate schedule, frozen parts, gradient clipping, weight averaging."""

import math
from collections.abc import Iterator

import torch
from torch import nn

KINDS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}


def build_optimizer(model: nn.Module, loss: nn.Module, recipe: dict) -> torch.optim.Optimizer:
    """An optimizer in which every trainable parameter is in one group.

    The network has rate lr, its head head_lr unless that is None, and weight decay; without decay_norms, its biases and
    normalisation layers have no decay.
    Parameters of the loss (proxies) have rate proxy_lr and no decay. adam and rmsprop add the decay to the gradient
    (coupled), adamw subtracts it from the weights. Only rmsprop has a momentum.
    """
    rates = {"lr": recipe["lr"]}
    own = set()  # of the head, where it has a rate of its own
    if recipe.get("head_lr"):
        rates, own = rates | {"head_lr": recipe["head_lr"]}, {id(p) for p in model.head.parameters()}
    placed: dict[tuple[bool, str], list] = {(decays, key): [] for decays in (True, False) for key in rates}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decays = recipe["decay_norms"] or parameter.ndim > 1
            placed[decays, "head_lr" if id(parameter) in own else "lr"].append(parameter)
    groups = [
        {"params": parameters, "peak_lr": rates[key], "weight_decay": recipe["weight_decay"] if decays else 0.0}
        for (decays, key), parameters in placed.items()
        if parameters or (decays, key) == (True, "lr")
    ]
    if proxies := [p for p in loss.parameters() if p.requires_grad and p.numel()]:
        groups.append({"params": proxies, "peak_lr": recipe["proxy_lr"], "weight_decay": 0.0})
    extra = {"momentum": recipe["momentum"]} if recipe["optimizer"] == "rmsprop" else {}
    return KINDS[recipe["optimizer"]](groups, lr=recipe["lr"], eps=recipe["adam_eps"], **extra)


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def learning_rate(
    step: int, steps: int, warmup: float, schedule: str, drop_every: int = 1, drop_to: float = 0.5,
    drops: int | None = None,
) -> float:  # fmt: skip
    """Factor in (0, 1] on the peak rates: rises linearly over the first warmup * steps, then follows the schedule.

    cosine: falls to zero. step: times drop_to after every drop_every steps, counted from the start, `drops` times at
    most. none: constant.
    """
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (math.floor(rising) + 1)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
    done = step // drop_every if drops is None else min(step // drop_every, drops)
    return drop_to**done if schedule == "step" else 1.0


def clip_gradients(model: nn.Module, loss: nn.Module, recipe: dict) -> None:
    """Clip the network's gradient by clip_norm and clip_value, unless they are 0. With clip_proxies, also clip the
    gradient of the loss's parameters, by itself.
    """
    for module in (model, loss) if recipe["clip_proxies"] else (model,):
        parameters = [p for p in module.parameters() if p.grad is not None]
        if recipe["clip_norm"]:
            nn.utils.clip_grad_norm_(parameters, recipe["clip_norm"])
        if recipe["clip_value"]:
            nn.utils.clip_grad_value_(parameters, recipe["clip_value"])


def drop_gradients(module: nn.Module) -> None:
    """Freeze a part in this step: the optimiser skips parameters without a gradient, and their moments."""
    for parameter in module.parameters():
        parameter.grad = None


def batchnorms(module: nn.Module) -> Iterator[nn.Module]:
    return (part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm))


class Average:
    """Exponential moving average of a network's parameters. Buffers are not averaged."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            self.weights[name].lerp_(parameter, 1 - self.decay)

    @torch.no_grad()
    def exchange(self, model: nn.Module) -> None:
        """Swap the network's weights and the averaged ones. A second call swaps them back."""
        for name, parameter in model.named_parameters():
            kept = parameter.detach().clone()
            parameter.copy_(self.weights[name])
            self.weights[name].copy_(kept)
