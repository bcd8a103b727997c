"""The check stage stops at what a loss would refuse hours later."""

import subprocess
import sys
import warnings

import pytest
import torch

from pfml.losses import LOSSES
from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.settings.rehearsal import rehearse_losses
from pfml.settings.runs import fold_runs, grid_runs
from tests.conftest import ROOT, merge


@pytest.fixture
def runs(raw, write):
    def made(**changes):
        params = load_params(write(merge(raw, changes)))
        return grid_runs(params) + fold_runs(params)

    return made


def test_every_loss_as_it_stands_passes_and_equal_ones_are_tried_once(runs, raw):
    with warnings.catch_warnings(record=True):
        found = rehearse_losses(runs(grid={"baseline": list(raw["baseline"]), "seed": [0, 1]}))
    # not zero_shot, which has nothing to try; pfml_tuned has settings of its own
    assert found == len(LOSSES)


@pytest.mark.parametrize("method, section, words", [
    ("triplet", {"train": {"images_per_class": 1}}, r"triplet: train\.images_per_class: .*at least 2, found 1"),
    ("prism", {"loss": {"memory": 50}}, r"prism: memory=50 is smaller than the batch of 100"),
    ("margin", {"loss": {"cutoff": 1.5}}, r"upper_cutoff: expected more than cutoff 1\.5"),
])  # fmt: skip
def test_what_a_loss_cannot_learn_from_is_told_with_its_method(runs, method, section, words):
    with pytest.raises(ConfigError, match=words):
        rehearse_losses(runs(grid={"baseline": [method]}, baseline={method: section}))


def test_the_random_numbers_of_others_stay_as_they_are(runs):
    torch.manual_seed(5)
    wanted = torch.randn(3)
    torch.manual_seed(5)
    rehearse_losses(runs(grid={"baseline": ["margin"]}))
    assert torch.equal(torch.randn(3), wanted)


def test_the_plan_stage_rehearses(raw, write, images, monkeypatch):
    write(merge(raw, {"grid": {"baseline": ["triplet"]}, "baseline": {"triplet": {"train": {"images_per_class": 1}}}}))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    ended = subprocess.run([sys.executable, ROOT / "stages/plan.py"], cwd=images, capture_output=True, text=True)
    assert ended.returncode == 2 and "triplet: train.images_per_class" in ended.stderr
    assert not (images / "data/plan").exists()
