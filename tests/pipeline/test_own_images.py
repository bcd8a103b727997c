"""The real pipeline on images of your own: real DVC, packs as outputs, kinds of noise."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.pipeline.clones import REPRO, clone, ran, results, sh

pytestmark = pytest.mark.pipeline
NO_ABLATIONS = {"points": []}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A clone whose grid is two runs on six classes of ten small pictures each, in a folder beside it."""
    folder = tmp_path_factory.mktemp("birds")
    for c in range(6):
        (folder / f"bird {c}").mkdir()
        for i in range(10):
            hue = np.array([c * 40, 250 - c * 40, 128]) + np.random.default_rng(10 * c + i).integers(
                -20, 20, (9 + i, 12, 3)
            )
            Image.fromarray(hue.clip(0, 255).astype(np.uint8)).save(folder / f"bird {c}/{i}.png")
    return clone(
        tmp_path_factory.mktemp("clone"),
        grid={"dataset": ["birds"], "baseline": []},
        dataset={"birds": {"kind": "folder", "path": str(folder), "pack": "fast", "short_side": 72}},
        recipe={
            "birds": {"train": {"transform": "small", "batch": 4, "images_per_class": 2, "sampler": "m_per_class"}}
        },
        split={"validation_classes": 1, "folds": 2},
        ablation=NO_ABLATIONS,
    )


def test_your_own_images_from_the_folder_to_the_tables(project):
    assert "done in" in sh(project, *REPRO)
    pack = sorted(path.name for path in (project / "data/raw/birds").iterdir())
    assert pack == ["index.npy", "items.csv", "meta.json", "pixels.bin"]
    rows = results(project)
    assert [(row["dataset"], row["noise"], row["status"]) for row in rows] == [
        ("birds", "0", "current"), ("birds", "0.2", "current"),
    ]  # fmt: skip
    tables = (project / "reports/tables.md").read_text()
    assert "**Study `tiny`**: birds, conv4" in tables and "published columns at the right" in tables
    assert (project / "reports/figures/gallery-birds.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((project / "data/split/birds.json").read_text())["counts"]["train_images"] == 30
    assert "up to date" in sh(project, *REPRO)


def test_another_kind_of_noise_reruns_the_noisy_run_alone(project):
    before = {row["noise"]: row["digest"] for row in results(project)}
    out = sh(project, "dvc", "exp", "run", "-S", "noise.kind=pairflip")
    trained = re.findall(r"Running stage 'train@(\S+)'", out)
    assert trained == ["birds-pfml-0.2-0"] and {"plan", "noise", "evaluate", "report"} <= ran(out)
    assert not {"fetch", "split"} & ran(out)
    after = {row["noise"]: row["digest"] for row in results(project) if row["status"] == "current"}
    assert after["0"] == before["0"] and after["0.2"] != before["0.2"]
    labels = pd.read_csv(project / "data/noise/birds-0.2-0.csv")
    moved = labels[labels["corrupted"]]
    assert len(moved) == 6 and ((moved["true_label"] + 1) % 3 == moved["noisy_label"]).all()
    tables = (project / "reports/tables.md").read_text()
    assert "pairflip noise, no published numbers" in tables and "published columns at the right" not in tables
