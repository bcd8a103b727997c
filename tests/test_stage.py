"""Freed memory in the process of a stage; counted in pages that the system had to clear anew."""

import os
import subprocess
import sys

import pytest

from pfml.stage import keep_freed_memory
from tests.conftest import ROOT

STEPS = """
import resource, sys, torch
from pfml.stage import run_stage

def steps():
    for warm in (True, False):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            held = [torch.ones(5 * 2**20) for _ in range(8)]  # 20 MiB each, as a network's activations for a batch
            del held
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

run_stage(steps) if sys.argv[1] == "stage" else steps()
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library is not glibc")
def test_a_stage_is_not_given_new_pages_for_every_buffer():
    """Beside glibc's thresholds as it starts: those that it adapts as it goes hold the buffers by chance."""
    environment = os.environ | {"PYTHONPATH": "src", "MALLOC_TRIM_THRESHOLD_": "131072"}
    pages = {
        kind: int(subprocess.run(
            [sys.executable, "-c", STEPS, kind], cwd=ROOT, env=environment, text=True, capture_output=True, check=True,
        ).stdout)
        for kind in ("plain", "stage")
    }  # fmt: skip
    assert pages["plain"] > 10 * pages["stage"]
