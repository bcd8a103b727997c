"""One-shot runs of Omniglot: read from the archive's layout, scored by the nearest drawing."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import one_shot
from pfml.training.batches.transforms import TRANSFORMS
from pfml.training.networks.model import build_model
from pfml.use.model import EmbeddingModel

CHARACTERS = 4


def drawing(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 2, (7, 7)).repeat(15, 0).repeat(15, 1) * 255
    Image.fromarray(pixels.astype(np.uint8)).convert("1").save(file, format="PNG")
    return file.getvalue()


def write_archive(path: Path, turned: int = 0, without: str = "") -> Path:
    """Runs whose drawings to recognise are the known ones in another order; labels turned by `turned` places."""
    with zipfile.ZipFile(path, "w") as archive:
        for run in range(1, one_shot.RUNS + 1):
            order, lines = np.random.default_rng(run).permutation(CHARACTERS), []
            for place, character in enumerate(order):
                item, known = (
                    f"run{run:02d}/test/item{place + 1:02d}.png",
                    f"run{run:02d}/training/class{character + 1:02d}.png",
                )
                archive.writestr(item, drawing(100 * run + character))
                if known != without:
                    archive.writestr(known, drawing(100 * run + character))
                labelled = (character + turned) % CHARACTERS
                lines.append(f"{item} run{run:02d}/training/class{labelled + 1:02d}.png")
            archive.writestr(f"run{run:02d}/class_labels.txt", "\n".join(lines) + "\n")
    return path


@pytest.fixture
def model() -> EmbeddingModel:
    torch.manual_seed(0)
    record = {"config": {"model": {"embedding_dim": 16}}, "weights": "0" * 16}
    return EmbeddingModel(build_model("conv4", 16), TRANSFORMS["small_characters"], record)


def test_the_same_drawing_is_recognised(tmp_path, model):
    runs = one_shot.read_runs(write_archive(tmp_path / "a.zip"))
    assert len(runs) == one_shot.RUNS and one_shot.accuracies(model, runs) == [1.0] * one_shot.RUNS
    runs = one_shot.read_runs(write_archive(tmp_path / "b.zip", turned=1))
    assert one_shot.accuracies(model, runs) == [0.0] * one_shot.RUNS, "labels of other characters"


def test_another_archive_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"run03/training/class02\.png: missing; expected all_runs\.zip"):
        one_shot.read_runs(write_archive(tmp_path / "a.zip", without="run03/training/class02.png"))
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    with pytest.raises(ValueError, match=r"run01/class_labels\.txt: missing"):
        one_shot.read_runs(tmp_path / "empty.zip")


@pytest.mark.skipif("PFML_REAL_DATA" not in os.environ, reason="PFML_REAL_DATA is not set")
def test_a_network_without_training_is_above_chance_on_the_official_runs(model):
    runs = one_shot.read_runs(Path(os.environ["PFML_REAL_DATA"], "data/omniglot/one_shot_all_runs.zip"))
    assert [len(part) for run in runs for part in run] == [20] * 60
    assert 0.1 < np.mean(one_shot.accuracies(model, runs)) < 0.9, "one in twenty is chance"
