"""Where a run was trained: reports/provenance/<study>.csv, and what this clone remembers of its own trainings."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pfml.settings.load import params_from
from pfml.settings.runs import grid_runs
from pfml.tracking import provenance
from pfml.tracking.provenance import COLUMNS, MACHINE, machine, read_provenance, record, restore, trained_here

ORIGIN = {"processes": 1, "git_commit": "abc", "mlflow_run": "f" * 32, "seconds": 1.5}


@pytest.fixture
def runs(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return grid_runs(params_from(tiny, "params.yaml"))


def rows() -> dict:
    return {row["run"]: row for row in read_provenance().to_dict("records")}


def test_a_training_is_on_record_once_with_its_machine(runs):
    for run in reversed(runs):
        record(run, machine(True) | ORIGIN, "0" * 16)
    record(runs[0], machine(True) | ORIGIN | {"seconds": 2.5}, "1" * 16)
    text = Path("reports/provenance/tiny.csv").read_text()
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert list(rows()) == sorted(run.name for run in runs), "in one order, whichever ended first"
    first = rows()[runs[0].name]
    assert (first["digest"], first["seconds"], first["study"]) == (runs[0].digest, 2.5, "tiny")
    assert all(first[name] for name in MACHINE if name != "faiss-gpu") and first["processor"] == provenance.processor()
    assert trained_here(runs[0].digest)["weights"] == "1" * 16 and trained_here("0" * 16) is None


def test_what_is_restored_from_the_cache_gets_its_own_row_again(runs):
    """An experiment and back: DVC restores the results, and the file says again where those were trained."""
    first, second = runs[:2]
    for run in (first, second):
        record(run, machine(True) | ORIGIN, "0" * 16)
    before = Path("reports/provenance/tiny.csv").read_text()
    moved = replace(first, loss=dict(first.loss) | {"alpha": 9.0})
    record(moved, machine(True) | ORIGIN | {"git_commit": "other"}, "2" * 16)
    assert Path("reports/provenance/tiny.csv").read_text() != before
    restore("tiny", [first, second])
    assert Path("reports/provenance/tiny.csv").read_text() == before
    restore("tiny", [second])
    assert list(rows()) == [second.name], "a run that the study no longer asks for"


def test_the_committed_row_comes_back_where_this_clone_did_not_train(runs):
    path = Path("reports/provenance/tiny.csv")
    record(runs[0], machine(True) | ORIGIN | {"processor": "of another machine"}, "0" * 16)
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", *arguments], check=True)
    committed = path.read_text()
    Path(f".provenance/{runs[0].digest}.json").unlink()
    record(replace(runs[0], loss=dict(runs[0].loss) | {"alpha": 9.0}), machine(True) | ORIGIN, "2" * 16)
    restore("tiny", runs)
    assert path.read_text() == committed and "of another machine" in committed


def test_the_kind_tells_what_decides_the_bits(monkeypatch):
    monkeypatch.setattr(provenance, "_cpuinfo", lambda: {
        "model name": "Some CPU", "cpu family": "6", "model": "85", "flags": "fpu sse2 avx2 avx512f",
    })  # fmt: skip
    monkeypatch.setattr(provenance.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert machine(True)["kind"] == "x86-64 with AVX2"
    facts = provenance._cpuinfo()
    for vendor, name in (("GenuineIntel", "Intel"), ("AuthenticAMD", "AMD"), ("Other", "Other")):
        monkeypatch.setattr(provenance, "_cpuinfo", lambda vendor=vendor: facts | {"vendor_id": vendor})
        assert machine(True)["kind"] == f"{name} x86-64 with AVX2"
    monkeypatch.setattr(provenance, "_cpuinfo", lambda: facts)
    assert machine(False)["kind"] == machine(True)["processor"] == "Some CPU (family 6, model 85, AVX-512)"
    monkeypatch.setattr(provenance.platform, "machine", lambda: "arm64")
    assert not provenance.can_be_portable() and machine(True)["kind"] == machine(True)["processor"]


def test_the_row_in_this_clone_is_readable_by_people(runs):
    record(runs[0], machine(True) | ORIGIN, "0" * 16)
    kept = json.loads(Path(f".provenance/{runs[0].digest}.json").read_text())
    assert list(kept) == [*COLUMNS[:2], *MACHINE, *ORIGIN, "weights", "sha256"]


def test_a_row_that_lost_a_bit_counts_as_none(runs):
    """`make torture` flipped one in the name of a column: every `make repro` after it ended in a KeyError."""
    record(runs[0], machine(True) | ORIGIN, "0" * 16)
    path = Path(f".provenance/{runs[0].digest}.json")
    whole, row = path.read_bytes(), trained_here(runs[0].digest)
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            found = trained_here(runs[0].digest)
            assert found is None or {key: found[key] for key in row} == row, (place, bit)
    path.write_bytes(whole)
    assert trained_here(runs[0].digest) == row
