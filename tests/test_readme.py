"""The README tells the truth: what it quotes, names and links exists."""

import re

import pytest
import torch
from dvc.exceptions import InvalidArgumentError
from dvc.utils.hydra import apply_overrides
from pytorch_metric_learning.utils import common_functions
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.data import DataLoader, TensorDataset

from pfml.losses import PotentialFieldLoss
from pfml.settings import ConfigError
from pfml.settings.load import load_params
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
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target


def in_this_process(dataset, batch_size, sampler, num_workers, collate_fn):
    return DataLoader(dataset, batch_size, sampler=sampler, drop_last=True)


def test_the_losses_work_as_printed(monkeypatch):
    """README and docs/losses.md, on random images: each lowers the energy, moves the network and the proxies, and keeps
    the batch statistics. tests/test_printed_loops.py runs them on photographs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # the trainer would move the data there
    monkeypatch.setattr(common_functions, "get_train_dataloader", in_this_process)
    torch.manual_seed(0)
    train_labels = torch.arange(100)
    images = torch.randn(100, 12)
    images, train_labels = images.repeat(15, 1) + 0.3 * torch.randn(1500, 12), train_labels.repeat(15)
    images = images.unflatten(1, (3, 2, 2))
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(64, 512))
    statistics = [buffer.clone() for buffer in model.buffers()]
    as_before = lambda: all(torch.equal(*pair) for pair in zip(statistics, model.buffers(), strict=True))  # noqa: E731
    dataset = TensorDataset(images, train_labels)
    program = {
        "device": torch.device("cpu"),
        "model": model,
        "test_embeddings": torch.randn(20, 512),
        "test_labels": torch.arange(10).repeat(2),
        "train_embeddings": model.eval()(images).detach(),
        "epochs": 2,
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
        assert as_before() and model.training and not model[1].training
        program["train_embeddings"] = model.eval()(images).detach()  # again, by the trained network
        exec(measures, program)
        assert 0 < program["w2"] < 2


def test_a_misspelled_key_gets_the_answers_that_the_readme_tells_of(raw, write):
    """DVC refuses `-S loss.alfa=4` and proposes a plus; what it writes with the plus, the stage `plan` refuses."""
    printed = r'If DVC\s+answers\s+"(.+?)" and\s+proposes a `(.)`,[^`]*stage\s+`plan` stops and names the nearest'
    answer, sign = re.search(printed, README).groups()
    path = write(raw)
    with pytest.raises(InvalidArgumentError) as refused:
        apply_overrides(path, ["loss.alfa=4"])
    cause = str(refused.value.__cause__) + str(refused.value.__cause__.__cause__)
    assert answer in cause and f"use {sign}loss.alfa=4" in cause
    apply_overrides(path, [f"{sign}loss.alfa=4"])
    with pytest.raises(ConfigError, match=r"loss\.alfa: unknown key; did you mean alpha\?"):
        load_params(path)
