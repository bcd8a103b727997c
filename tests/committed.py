"""Files of the last commit. Tests compare these, never what a run on this machine has just written."""

import atexit
import io
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

PLACES = ("reports", "presets", "docs", "params.yaml", "requirements.lock", "README.md", "dvc.lock", "src")


@cache
def project() -> Path:
    """A folder with the committed files, outside Git; not to be changed."""
    folder = Path(tempfile.mkdtemp(prefix="pfml-committed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    archive = subprocess.run(["git", "archive", "HEAD", *PLACES], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def committed(path: str) -> Path:
    """A file or folder as it was committed."""
    return project() / path
