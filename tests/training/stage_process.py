"""A training stage as the real process that DVC starts, in a folder with a small dataset of 24 classes."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from pfml.settings.load import load_params
from pfml.settings.planning import write_plan
from tests.conftest import ROOT


def plan(folder):
    write_plan(load_params(folder / "params.yaml"), folder / "data/plan")


@pytest.fixture
def workspace(tmp_path, tiny, write):
    """A folder with params.yaml and a small dataset of 24 classes in the pipeline's own format."""

    def _workspace(name, steps=4):
        folder = tmp_path / name
        raw = folder / "data/raw/glyphs"
        raw.mkdir(parents=True)
        tiny["train"] |= {"epochs": 8, "steps_per_epoch": steps, "batch": 40}
        tiny["tracking"]["enabled"] = False
        write(tiny, folder)
        rng = np.random.default_rng(0)
        labels = np.repeat(np.arange(24), 8)
        np.save(raw / "images.npy", rng.integers(0, 256, (192, 16, 16, 3), dtype=np.uint8))
        (raw / "meta.json").write_text(json.dumps({"digest": "d" * 64}))
        (folder / "data/noise").mkdir()
        halves = np.where(labels < 12, "train", "test")
        table = pd.DataFrame(
            {"item": range(192), "split": halves, "validation": False, "true_label": labels % 12,
             "noisy_label": labels % 12}
        )  # fmt: skip
        table.to_csv(folder / "data/noise/glyphs-0.2-0.csv", index=False)
        plan(folder)
        return folder

    return _workspace


def start(folder, method="pfml", **environment):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "DVC_ROOT": str(folder)} | environment
    return subprocess.Popen(
        [sys.executable, ROOT / "stages/train.py", f"glyphs-{method}-0.2-0"], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def wait_for_epoch(process, epoch):
    for line in process.stdout:
        if f"epoch   {epoch}/8" in line:
            return
    raise AssertionError(process.stderr.read())


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def outputs(folder):
    model = folder / "models/grid/glyphs/pfml-0.2-0"
    arrays = np.load(model / "embeddings.npz")
    history = pd.read_csv(model / "history.csv")
    files = [(model / name).read_bytes() for name in ("model.safetensors", "loss.safetensors")]
    return files, {name: arrays[name].tobytes() for name in arrays.files}, history.to_csv()
