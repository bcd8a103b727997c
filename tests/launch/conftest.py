import os
import shutil

import pytest

from tests.launch.small_pipeline import build


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The small pipeline, run and committed; to be read alone."""
    return build(tmp_path_factory.mktemp("small") / "finished")


@pytest.fixture
def project(finished, tmp_path, monkeypatch):
    """A copy of it, and the working directory there."""
    for name in [name for name in os.environ if name.startswith("DVC_")]:
        monkeypatch.delenv(name)
    shutil.copytree(finished, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"
