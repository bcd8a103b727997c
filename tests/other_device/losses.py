"""Every loss on the other device, against the CPU: a line of JSON each. Run as a script, in a process of its own."""

import copy
import json
from unittest import mock

import torch

from pfml.losses import LOSSES
from tests.losses.baseline_cases import CLASSES, DIM, make, random_batch, rows
from tests.other_device.device import NAME, Generator

OPTIONS = {
    "pfml": (
        {}, {"alpha": 0.5}, {"alpha": 0.0}, {"alpha": 0.0, "alpha_zero": "linear"}, {"reduction": "pair_mean"},
        {"reduction": "anchor_mean"}, {"proxies_per_class": 0}, {"proxy_init": "random"}, {"proxy_proxy": "none"},
        {"absent_proxies": False}, {"normalize_proxies": False},
    ),
    "cpml": ({}, {"repulsion": "mirror"}),
}  # fmt: skip


def steps(loss, device: str) -> list[torch.Tensor]:
    """What two training steps leave: values, gradients of the embeddings, gradients and state of the loss."""
    loss, found = copy.deepcopy(loss).to(device), []
    if hasattr(loss, "initialize_proxies"):
        start, labels = random_batch(9)
        loss.initialize_proxies(start.to(device), labels.to(device), torch.Generator().manual_seed(0))
    for seed in (0, 1):
        embeddings, labels = (part.to(device) for part in random_batch(seed))
        embeddings.requires_grad_()
        torch.manual_seed(seed)
        value = loss(rows(loss, embeddings), labels)
        value.backward()
        found += [value, embeddings.grad]
    found += [parameter.grad for parameter in loss.parameters() if parameter.grad is not None]
    found += loss.state_dict().values()
    assert {tensor.device.type for tensor in found} == {device}, {tensor.device for tensor in found}
    return [tensor.detach().cpu() for tensor in found]


def compare(name: str, options: dict) -> str:
    loss = make(name, CLASSES, DIM, **options)
    try:
        here, there = steps(loss, "cpu"), steps(loss, NAME)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "equal" if len(here) == len(there) and all(map(torch.equal, here, there)) else "another result"


if __name__ == "__main__":
    with mock.patch("torch.Generator", Generator):
        for name in LOSSES:
            for options in OPTIONS.get(name, ({},)):
                print(json.dumps([name, options, compare(name, options)]), flush=True)
