"""Real images as your own datasets: birds of CUB-200-2011 as a folder, characters of Omniglot as a CSV, through the
stages; a short training finds unseen classes better than the network did before it.

Reads the folder named by PFML_REAL_DATA; skipped where that is unset. Numbers are not comparable with published ones.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pfml.retrieval import retrieval_metrics
from pfml.settings.load import load_params
from pfml.settings.runs import find_run, grid_runs
from pfml.training.batches.run_data import load_run_data
from pfml.training.measure import embed
from pfml.training.networks.model import build_model
from tests.conftest import REAL, needs_real
from tests.datasets.stages import one_epoch

pytestmark = [needs_real, pytest.mark.long]


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """20 species, uncropped, WebP of many shapes: one folder a class."""
    folder = tmp_path_factory.mktemp("birds")
    with zipfile.ZipFile(Path(REAL, "data/cub200_full_first50/cub200_full_first50_short224.zip")) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".webp"))
        classes = sorted({name.split("/")[0] for name in names})[:20]
        for name in names:
            if name.split("/")[0] in classes:
                archive.extract(name, folder)
    return folder


@pytest.fixture(scope="module")
def characters(tmp_path_factory):
    """Every 20th of Omniglot's 1,623 characters as 1-bit PNG, and a CSV with the official halves."""
    folder = tmp_path_factory.mktemp("characters")
    saved = np.load(Path(REAL, "data/omniglot/omniglot_105.npz"))
    rows = np.flatnonzero(saved["label"] % 20 == 0)
    paper = np.unpackbits(saved["images"][rows], axis=1)[:, : 105 * 105].reshape(-1, 105, 105) == 0
    lines = []
    for i, (row, page) in enumerate(zip(rows, paper)):
        label = int(saved["label"][row])
        Image.fromarray(page).save(folder / f"{i}.png")
        half = "train" if saved["class_is_background"][label] else "test"
        lines.append((f"{i}.png", str(saved["class_names"][label]), half))
    pd.DataFrame(lines, columns=["path", "label", "split"]).to_csv(folder / "list.csv", index=False)
    return folder / "list.csv"


@pytest.mark.parametrize("kind, mode", [("folder", "fast"), ("csv", "exact")])
def test_a_short_training_beats_the_untrained_network(raw, write, stages, birds, characters, kind, mode):
    path = {"folder": birds, "csv": characters}[kind]
    raw["dataset"]["mine"] = {"kind": kind, "path": str(path), "pack": mode, "short_side": 72}
    recipe = {"epochs": 5, "steps_per_epoch": 30, "batch": 40, "images_per_class": 4, "eval_every": 5}
    recipe |= {"sampler": "balanced", "lr": 0.0086, "proxy_lr": 0.18}  # those of the method were found on glyphs
    raw = one_epoch(raw, "mine", **recipe)
    raw["recipe"]["mine"]["model"] = {"backbone": "conv4"}  # as docs/own-data.md has it for photographs
    write(raw, Path.cwd())
    said = stages.all("mine")
    assert "errors: none" in said
    counts = json.loads(Path("data/split/mine.json").read_text())["counts"]
    expected = (20, 10) if kind == "folder" else (82, 49)
    assert (counts["classes"], counts["train_classes"]) == expected
    labels = pd.read_csv("data/noise/mine-0.2-0.csv")
    assert labels["corrupted"].sum() == round(0.2 * counts["train_images"])

    run = find_run(grid_runs(load_params()), "mine-pfml-0.2-0")
    unseen = load_run_data(run).test
    torch.manual_seed(run.seed)
    before = retrieval_metrics(embed(build_model(**run.model), unseen.pictures), unseen.labels)
    after = json.loads(Path("reports/runs/stages/mine-pfml-0.2-0.json").read_text())
    print(kind, before["recall@1"], after["recall@1"], before["map@r"], after["map@r"])
    assert after["recall@1"] > before["recall@1"] and after["map@r"] > 1.1 * before["map@r"]
