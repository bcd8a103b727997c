"""A toy loss, and the three edits by which CONTRIBUTING.md ("Add a loss") adds it to a copy of the project."""

from pathlib import Path

TOY = '''"""Toy: a contrastive loss on cosines."""

import torch.nn.functional as F
from torch import Tensor, nn

from pfml.losses.common.describe import baseline
from pfml.losses.common.ranges import Count, Fraction, Positive


@baseline("Toy", acts="pair", pairs=True)
class Toy(nn.Module):
    """weight / B^2 * (sum over pairs of one class of 1 - s + sum over the other pairs of [s - margin]+), s cosines."""

    def __init__(self, num_classes: Count, embedding_dim: Count, margin: Fraction = 0.0, weight: Positive = 1.0):
        super().__init__()
        self.sizes, self.margin, self.weight = (num_classes, embedding_dim), margin, weight

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) of any length, labels (B,) in [0, N) -> scalar."""
        units = F.normalize(embeddings, dim=1)
        cosines, same = units @ units.T, labels[:, None] == labels
        pull, push = (1 - cosines)[same].sum(), F.relu(cosines - self.margin)[~same].sum()
        return self.weight * (pull + push) / len(labels) ** 2
'''
SECTION = """  toy:
    loss:
      margin: 0.1
      weight: 1.0
    train: {}
"""


def add_toy_loss(folder: Path) -> list[Path]:
    """Add it: its file, a line at the end of the registry, its section in params.yaml and its name in the grid.

    Args:
        folder: the root of a copy of the project, not the project itself.

    Returns:
        the three files.
    """
    file, registry, params = (
        folder / name for name in ("src/pfml/losses/baselines/toy.py", "src/pfml/losses/__init__.py", "params.yaml")
    )
    file.write_text(TOY)
    registry.write_text(_after(registry.read_text(), "PLACES = {", "    ", '    "toy": "baselines.toy.Toy",\n'))
    text = _after(params.read_text(), "grid:\n", "  ", "  - toy\n", last="  baseline:", line="  - ")
    head, start, sections = text.partition("\nbaseline:\n")
    params.write_text(head + start + SECTION + sections)
    return [file, registry, params]


def _after(text: str, start: str, indent: str, new: str, last: str = "", line: str = "") -> str:
    """`new` behind the last line of the block that begins with the line `start` (and in it with the line `last`)."""
    lines = text.splitlines(keepends=True)
    at = next(i for i, one in enumerate(lines) if one.startswith(start.rstrip("\n"))) + 1
    if last:
        at = next(i for i in range(at, len(lines)) if lines[i].startswith(last)) + 1
    while lines[at].startswith(line or indent):
        at += 1
    return "".join([*lines[:at], new, *lines[at:]])
