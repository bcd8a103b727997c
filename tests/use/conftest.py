"""A folder of photographs, and a network that real stages trained on them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import ROOT, merge
from tests.pipeline.clones import STUDY

BIRDS = {
    "grid": {"dataset": ["birds"], "field": ["pfml"], "baseline": [], "noise": [0.0]},
    "dataset": {"birds": {"kind": "folder", "path": "photos", "short_side": 256, "pack": "exact"}},
    "recipe": {"birds": {"train": {"transform": "small", "batch": 8, "images_per_class": 2, "sampler": "m_per_class"}}},
    "split": {"validation_classes": 1, "folds": 2},
    "ablation": {"points": []}, "tune": {"method": []}, "tracking": {"enabled": False},
}  # fmt: skip


def draw(path: Path, c: int, i: int) -> Path:
    """A picture of class c, some grey levels apart from its neighbours, of a size of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(100 * c + i).integers(-20, 20, (70 + 7 * i, 90 - 3 * i, 3))
    Image.fromarray((pixels + np.array([c * 40, 250 - c * 40, 128])).clip(0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def birds(tmp_path_factory) -> Path:
    """A project's folder in which `birds-pfml-0.0-0` is trained on photos/, six classes of ten pictures."""
    folder = tmp_path_factory.mktemp("birds")
    for name in ("src", "stages"):
        (folder / name).symlink_to(ROOT / name)
    for c in range(6):
        for i in range(10):
            draw(folder / f"photos/bird {c}/{i}.{'png' if i % 2 else 'jpg'}", c, i)
    raw = merge(merge(yaml.safe_load((ROOT / "params.yaml").read_text()), STUDY), BIRDS)
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "src"}
    for stage in (["plan"], ["fetch", "birds"], ["split", "birds"], ["noise", "birds-0.0-0"], ["train", RUN]):
        done = subprocess.run(
            [sys.executable, f"stages/{stage[0]}.py", *stage[1:]], cwd=folder, env=environment, capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


RUN = "birds-pfml-0.0-0"
NETWORK = "models/grid/birds/pfml-0.0-0"
