"""Image files of many kinds for the tests of packs, and the stage scripts in a folder of their own."""

import warnings

import pytest

from tests.datasets.pictures import encoded, noise
from tests.datasets.stages import Stages


@pytest.fixture
def files() -> dict[str, bytes]:
    """Twelve files of many kinds and shapes in two classes."""
    kinds = [("PNG", "RGB"), ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("GIF", "P"), ("WEBP", "RGBA")]
    return {
        f"{'ab'[i % 2]}{i}": encoded(noise(30 + 7 * i, 60 - 3 * i, i).convert(kinds[i % 6][1]), kinds[i % 6][0])
        for i in range(12)
    }


@pytest.fixture
def stages(tmp_path, monkeypatch, capfd) -> Stages:
    """The test goes on inside a new project folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # a stage sets its own
    return Stages(monkeypatch, capfd)
