"""Two clones compute the same: after `make repro` in a second one Git sees the provenance alone, and `make verify` says
that every run was reproduced.
"""

import json
import sys

import pytest
from clones import REPRO, clone, commit, sh

VERIFY = (sys.executable, "-m", "pfml", "verify")
RUNS = 6  # of the tiny study: four of the grid, two ablations


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A clone with committed results."""
    folder = clone(tmp_path_factory.mktemp("first"), tune={"method": []})
    sh(folder, *REPRO)
    commit(folder, "results")
    return folder


@pytest.fixture(scope="module")
def second(first, tmp_path_factory):
    """A clone of it, with nothing cached, in which all was trained anew."""
    folder = tmp_path_factory.mktemp("second") / "clone"
    sh(first, "git", "clone", "-q", ".", str(folder))
    sh(folder, *REPRO)
    return folder


def test_a_second_clone_changes_the_provenance_alone(second):
    assert sh(second, "git", "status", "--porcelain") == " M reports/provenance/tiny.csv\n"


def test_every_run_is_reproduced_and_a_changed_number_is_found(second):
    assert f"{RUNS} of {RUNS} runs reproduced to the bit" in sh(second, *VERIFY)
    path = second / "reports/runs/tiny/glyphs-pfml-0.2-0.json"
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"recall@1": 0.9}))
    try:
        out = sh(second, *VERIFY, code=1)
    finally:
        path.write_text(text)
    assert f"{RUNS - 1} of {RUNS} runs" in out and "differs  glyphs-pfml-0.2-0" in out


def test_runs_trained_anew_in_a_temporary_clone_are_equal(first):
    status = sh(first, "git", "status", "--porcelain")
    out = sh(first, *VERIFY, "--runs", "2")
    assert "2 of 2 runs reproduced to the bit" in out
    assert sh(first, "git", "status", "--porcelain") == status


def test_what_dvc_restored_from_its_cache_is_not_verified(first, tmp_path):
    folder = tmp_path / "clone"
    sh(first, "git", "clone", "-q", ".", str(folder))
    sh(folder, sys.executable, "-m", "dvc", "config", "--local", "cache.dir", str(first / ".dvc/cache"))
    sh(folder, *REPRO)
    out = sh(folder, *VERIFY, code=1)
    assert f"0 of {RUNS} runs" in out and f"{RUNS} not verified, since this clone has not trained them" in out
