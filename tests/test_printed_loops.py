"""The loops that README.md and docs/losses.md print improve a pretrained network on photographs of unseen classes.

Cars-196 in box crops, EfficientNet-Lite0 with its ImageNet weights, 20 classes to train and 20 others to search in.
Reads the folder named by PFML_REAL_DATA; skipped where that is unset. Each loop takes a minute of one core.
"""

import csv
import io
import re
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_metric_learning.utils import common_functions
from torch.utils.data import DataLoader, TensorDataset

from pfml.losses import PotentialFieldLoss
from pfml.retrieval import retrieval_metrics
from pfml.training.networks.model import build_model
from tests.conftest import REAL, ROOT, needs_real

pytestmark = [needs_real, pytest.mark.long]
CARS = "data/cars98/cars98.zip"
LITE0 = "weights/efficientnet_lite0_imagenet/tf_efficientnet_lite0_in1k.safetensors"
CLASSES, EACH, SIDE, BATCH, EPOCHS = 20, 24, 112, 16, 4
OWN = {  # what a reader puts in for numbers that a page prints
    "README.md": {"num_classes=100": f"num_classes={CLASSES}"},
    "docs/losses.md": {"batch_size=100": f"batch_size={BATCH}", "num_epochs=10": f"num_epochs={EPOCHS}"},
}


def blocks(page: str) -> list[str]:
    """The Python blocks of a page, with the numbers of this test."""
    text = (ROOT / page).read_text()
    for printed, own in OWN[page].items():
        assert printed in text
        text = text.replace(printed, own)
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def cars(half: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The first images of the first classes of a half, squashed to a square: (n, 3, SIDE, SIDE), and labels (n,)."""
    of_class = defaultdict(list)
    with zipfile.ZipFile(Path(REAL, CARS)) as archive:
        for row in csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"))):
            if row["split"] == half:
                of_class[int(row["class_id"])].append(row["file"])
        chosen = [sorted(of_class[label])[:EACH] for label in sorted(of_class)[:CLASSES]]
        images = [
            Image.open(archive.open(name)).convert("RGB").resize((SIDE, SIDE)) for names in chosen for name in names
        ]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    return pixels.float().div(127.5).sub(1), torch.arange(CLASSES).repeat_interleave(EACH)


def embedded(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(n, 512) in evaluation mode. The network gets back the mode in which it came: a new one is in training mode."""
    mode = model.training
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(part) for part in images.split(60)])
    model.train(mode)
    return found


def in_this_process(dataset, batch_size, sampler, num_workers, collate_fn):
    return DataLoader(dataset, batch_size, sampler=sampler, drop_last=True)


@pytest.fixture(scope="module")
def photographs():
    """Images and labels of both halves."""
    return cars("train"), cars("test")


@pytest.fixture
def program(photographs, monkeypatch):
    """The names that the pages take as given, and a list of the energies that the loss gives meanwhile."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # the trainer would move the data there
    monkeypatch.setattr(common_functions, "get_train_dataloader", in_this_process)
    torch.manual_seed(0)
    np.random.seed(0)  # the trainer's sampler draws with it
    (images, labels), _ = photographs
    dataset, energies = TensorDataset(images, labels), []
    model = build_model("tf_efficientnet_lite0", 512, weights=Path(REAL, LITE0))

    def record(module, inputs, energy):
        if isinstance(module, PotentialFieldLoss):
            energies.append(float(energy.detach()))

    hook = torch.nn.modules.module.register_module_forward_hook(record)
    yield {
        "torch": torch, "device": torch.device("cpu"), "model": model, "epochs": EPOCHS, "dataset": dataset,
        "train_embeddings": embedded(model, images), "train_labels": labels, "energies": energies,
        "loader": DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True),
    }  # fmt: skip
    hook.remove()


def trained(program: dict, loop: str, photographs) -> tuple[float, float]:
    """R@1 on the unseen classes before and after a printed loop."""
    _, (images, labels) = photographs
    before = retrieval_metrics(embedded(program["model"], images), labels)["recall@1"]
    exec(loop, program)
    after = retrieval_metrics(embedded(program["model"], images), labels)["recall@1"]
    print(f"R@1 {before:.3f} -> {after:.3f}, energy {program['energies'][0]:.4g} -> {program['energies'][-1]:.4g}")
    return before, after


def test_the_loop_of_the_readme(program, photographs):
    before, after = trained(program, blocks("README.md")[0], photographs)
    assert after > before
    # README: the energy starts near this.
    n, m, law = CLASSES, program["loss"].proxies_per_class, program["loss"].law
    expected = (n * m * (m - 1) + 2 * BATCH * m) * law.delta**-law.alpha
    assert program["energies"][0] == pytest.approx(expected, rel=0.1)


def test_the_trainer_of_docs_losses(program, photographs):
    start, loop, _ = blocks("README.md")[0].partition("for epoch in")
    assert loop
    exec(start, program)  # the loss, with proxies at the data
    before, after = trained(program, blocks("docs/losses.md")[0], photographs)
    assert after > before
