"""`make gpu` in miniature, on a CPU: the whole path, and what is left of it when it is stopped or a part fails."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
from gpu_report import NOT
from gpu_results import chosen, read

pytestmark = pytest.mark.long
PARTS = ("machine", "tests", "loss", "rate", "retrieval", "bits", "check")


def command(out: Path, *options: str) -> list[str]:
    return [sys.executable, str(ROOT / "benchmarks/gpu.py"), "--miniature", "--out", str(out), *options]


def run(out: Path, *options: str) -> tuple[int, list[dict], str]:
    """Exit code, results and report."""
    done = subprocess.run(command(out, *options), cwd=ROOT, capture_output=True, text=True)
    return done.returncode, read(out / "gpu.jsonl"), (out / "gpu.md").read_text() + done.stderr


def ends(results: list[dict]) -> dict[str, str]:
    return {entry["part"]: entry["outcome"] for entry in results if entry["kind"] == "end"}


def test_the_whole_path(tmp_path):
    code, results, report = run(tmp_path)
    assert code == 0 and ends(results) == dict.fromkeys(PARTS, "done"), report
    assert "**A miniature on a CPU" in report
    assert NOT not in report.replace(f"*{NOT}*", "")
    assert {len(chosen(results, "loss", kind)) for kind in ("step", "share", "peer", "memory")} == {2, 5, 4}
    assert all(
        step["fast_error"] < 1e-5 and step["fast_value_error"] < 1e-5 for step in chosen(results, "loss", "step")
    )
    assert {entry["outcome"] for entry in chosen(results, "tests", "test")} == {"skipped"}, "there is no GPU here"
    assert [entry["equal"] for entry in chosen(results, "bits", "equal")[:2]] == [True, True]
    assert chosen(results, "retrieval", "cpu")[0]["equal"]
    trained = [(entry["method"], entry.get("delta"), entry["noise"]) for entry in chosen(results, "check", "trained")]
    assert trained == [
        (method, delta, noise)
        for method, delta in (("pfml", 0.2), ("proxy_anchor", None), ("multi_similarity", None), ("pfml", 0.35),
                              ("pfml", 0.1))
        for noise in (0.0, 0.2)
    ]  # fmt: skip
    refused = [sys.executable, str(ROOT / "benchmarks/gpu.py"), "--record", str(tmp_path)]
    refused = subprocess.run(refused, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1 and "expected the results of a GPU, found a miniature" in refused.stderr


def alive(out: Path) -> list[str]:
    """Processes that write to these results."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        found += [path.parent.name] * (str(out / "gpu.jsonl").encode() in words)
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_a_stop_half_way_keeps_what_was_measured(tmp_path, how):
    process = subprocess.Popen(command(tmp_path, "--parts", "retrieval", "check"), cwd=ROOT, stderr=subprocess.PIPE)
    while not (before := read(tmp_path / "gpu.jsonl")) or before[-1]["part"] != "check":
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(how)
    process.wait()
    deadline = time.time() + 60
    while alive(tmp_path) and time.time() < deadline:
        time.sleep(0.1)
    assert not alive(tmp_path), "the part goes on without the program that started it"
    after = read(tmp_path / "gpu.jsonl")
    assert after[: len(before)] == before
    assert ends(after).get("check") is None and ends(after)["retrieval"] == "done"
    report = (tmp_path / "gpu.md").read_text()
    assert "| classes | 2,000 |" in report and report.rstrip().splitlines()[-1].startswith("Measured ")
    if how is signal.SIGTERM:
        assert process.returncode == 130 and "The run was stopped (SIGTERM)." in report


def test_a_part_that_fails_does_not_stop_the_others(tmp_path):
    bundle = tmp_path / "bundle"
    (bundle / "crops").mkdir(parents=True)
    (bundle / "crops/meta.json").write_text(json.dumps({"name": "damaged"}))
    code, results, report = run(tmp_path, "--bundle", str(bundle), "--parts", "rate", "retrieval")
    assert code == 0 and ends(results) == {"machine": "done", "rate": "failed", "retrieval": "done"}
    assert "`rate` failed" in report and "pack again" in report


def test_the_time_is_a_limit_for_everything(tmp_path):
    code, results, report = run(tmp_path, "--minutes", "0.2", "--parts", "tests", "loss", "rate", "bits", "check")
    late = set(ends(results).values()) - {"done"}
    assert code == 0 and late and late <= {"stopped at its limit", "no time left"}
    assert len(ends(results)) == 6 and NOT in report
    assert sum(entry["seconds"] for entry in results if entry["kind"] == "end") <= 12


def test_results_of_an_earlier_run_are_not_touched(tmp_path):
    (tmp_path / "gpu.jsonl").write_text("{}\n")
    done = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "results of an earlier run" in done.stderr
    assert (tmp_path / "gpu.jsonl").read_text() == "{}\n"
