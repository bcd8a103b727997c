"""What is in Git stays small: pages, data and weights are made again from what is committed."""

import subprocess

from tests.conftest import ROOT

LIMIT = 2**20  # bytes
LOCKS = {"dvc.lock", "requirements.lock"}  # a line for every stage and package


def test_no_tracked_file_is_heavy():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = {path for path in listed.split("\0") if path} - LOCKS
    assert "reports/tables.md" in paths
    heavy = {path: (ROOT / path).stat().st_size for path in paths if (ROOT / path).is_file()}
    assert {path: size for path, size in heavy.items() if size > LIMIT} == {}
