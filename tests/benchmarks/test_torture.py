"""What `make torture` is built of; the trials themselves take a minute each and are no part of the tests."""

import random
import subprocess
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import torture
import torture_kinds


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setattr(torture, "LOG", tmp_path / "torture.csv")
    return tmp_path / "torture.csv"


def row(seed, survived="yes"):
    return dict.fromkeys(torture.COLUMNS, "") | {"seed": seed, "kind": torture.kind_of(seed), "survived": survived}


def test_200_trials_have_each_kind_at_least_15_times():
    kinds = [torture.kind_of(seed) for seed in range(torture.TRIALS)]
    assert torture.TRIALS == 200 and set(kinds) == set(torture_kinds.KINDS)
    assert min(map(kinds.count, kinds)) >= 15


def test_a_seed_that_runs_again_replaces_its_row(log):
    for one in (row(3), row(1, "no"), row(1)):
        torture.keep(one)
    assert [(one["seed"], one["survived"]) for one in torture.rows()] == [("1", "yes"), ("3", "yes")]
    assert "| all | 2 | 2 |" in torture.table(torture.rows())


def test_one_bit_is_flipped():
    data = bytes(range(256))
    changed = torture_kinds.flip(data, random.Random(0))
    assert sum(bin(a ^ b).count("1") for a, b in zip(data, changed, strict=True)) == 1


def test_only_files_that_git_does_not_keep_are_damaged(tmp_path):
    template = tmp_path / "study"
    for name in ("data/raw/a.npy", "reports/tables.md", "models/m/run.json", "mlflow.db"):
        (template / name).parent.mkdir(parents=True, exist_ok=True)
        (template / name).write_text("before")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", "init", "-q", template], check=True)
    subprocess.run(["git", "add", "reports"], cwd=template, check=True)
    subprocess.run([*git, "commit", "-qm", "reports"], cwd=template, check=True)
    chosen = set()
    for seed in range(30):
        one = torture_kinds.Trial(template, tmp_path / "trial", random.Random(seed), ())
        one.copy()
        with torture_kinds.changing("cut off", lambda data, draw: data[:2])(one):
            cut = {path.relative_to(tmp_path / "trial").as_posix() for path in (tmp_path / "trial").rglob("*")
                   if path.is_file() and path.read_bytes() == b"be"}  # fmt: skip
        assert {f"cut off {name}" for name in cut} == set(one.done) and 1 <= len(cut) <= 3
        chosen |= cut
    assert chosen == {"data/raw/a.npy", "models/m/run.json", "mlflow.db"}


@pytest.mark.parametrize(
    "said, wrong",
    [
        ("ERROR: failed to transfer 'x' - [Errno 28] No space left on device: 'y'\n", ""),
        ("error: params.yaml: loss.alpha: expected\n", ""),
        ("Traceback (most recent call last):\n  File\nKeyError: 'a'\n", "a traceback: KeyError: 'a'"),
        ("done\n", "fails without a word"),
    ],
)
def test_a_call_that_fails_has_to_say_why(said, wrong):
    assert torture.unexplained(said) == wrong
