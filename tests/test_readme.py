"""The README tells the truth: what it quotes, names and links exists."""

import re

import torch
from pytorch_metric_learning.utils import common_functions
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.data import DataLoader, TensorDataset

from pfml.losses import PotentialFieldLoss
from tests.committed import committed
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_the_excerpt_is_part_of_the_tables():
    excerpt = committed("README.md").read_text().split("<!-- excerpt of reports/tables.md -->")[1]
    lines = excerpt.split("<!-- end -->")[0].strip().splitlines()
    assert len(lines) > 5
    tables = committed("reports/tables.md").read_text().splitlines()
    assert [line for line in lines if line not in tables] == []


def test_links_and_make_targets_exist():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target


def in_this_process(dataset, batch_size, sampler, num_workers, collate_fn):
    return DataLoader(dataset, batch_size, sampler=sampler, drop_last=True)


def test_the_losses_work_as_printed(monkeypatch):
    """README and docs/losses.md, on random images: each lowers the energy and moves the network and the proxies."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # the trainer would move the data there
    monkeypatch.setattr(common_functions, "get_train_dataloader", in_this_process)
    torch.manual_seed(0)
    train_labels = torch.arange(100)
    images = torch.randn(100, 12)
    images, train_labels = images.repeat(15, 1) + 0.3 * torch.randn(1500, 12), train_labels.repeat(15)
    model = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 512))
    dataset = TensorDataset(images, train_labels)
    program = {
        "device": torch.device("cpu"),
        "model": model,
        "test_embeddings": torch.randn(20, 512),
        "test_labels": torch.arange(10).repeat(2),
        "train_embeddings": model(images).detach(),
        "train_labels": train_labels,
        "loader": DataLoader(dataset, batch_size=80, shuffle=True),
        "dataset": dataset,
    }
    blocks = re.findall(r"^```python\n(.*?)^```", README + (ROOT / "docs/losses.md").read_text(), re.S | re.M)
    training, measures, trainer = blocks
    for block in (training, trainer):
        calls = []

        def record(module, inputs, energy, calls=calls):
            if isinstance(module, PotentialFieldLoss):
                calls.append(
                    (float(energy.detach()), module.proxies.detach().clone(), model[0].weight.detach().clone())
                )

        hook = register_module_forward_hook(record)
        try:
            exec(block, program)
        finally:
            hook.remove()
        (first, *before), (last, *after) = calls[0], calls[-1]
        assert len(calls) >= 5 and last < first
        assert all((now - then).abs().max() > 1e-4 for now, then in zip(after, before))
        program["train_embeddings"] = model(images).detach()  # again, by the trained network
        exec(measures, program)
        assert 0 < program["w2"] < 2
