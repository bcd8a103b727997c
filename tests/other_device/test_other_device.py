"""What runs on the CPU runs off it too, with the same bits: every loss, the training loop, resume, crops, measures."""

import json
import os
import subprocess
import sys

import pytest

from pfml.losses import LOSSES
from tests.conftest import ROOT

PARTS = (
    "everything",
    "resumed from memory",
    "resumed from a file",
    "validation classes",
    "crops",
    "packs",
    "retrieval",
)


def verdicts(script: str, folder) -> list:
    """The lines of a script, which has to be a process of its own: torch takes one such device for good."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", f"tests.other_device.{script}"]
    found = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-3000:]
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory) -> dict[str, str]:
    return dict(verdicts("training", tmp_path_factory.mktemp("training")))


@pytest.fixture(scope="module")
def steps(tmp_path_factory) -> list:
    return verdicts("losses", tmp_path_factory.mktemp("losses"))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_computes_where_its_embeddings_are(steps, name):
    found = [(options, verdict) for loss, options, verdict in steps if loss == name]
    assert found and all(verdict == "equal" for _, verdict in found), found


@pytest.mark.parametrize("case", [*(f"loss {name}" for name in LOSSES), *PARTS])
def test_a_training_off_the_cpu_gives_the_same_bits(trainings, case):
    assert trainings.get(case) == "equal", trainings.get(case)


def test_the_device_refuses_what_a_gpu_refuses(tmp_path):
    assert verdicts("device", tmp_path) == ["two devices", "NumPy", "a generator of the CPU"]
