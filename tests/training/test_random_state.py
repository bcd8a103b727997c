"""The same bits each time."""

import os

import pytest
import torch

from pfml.training.reproducible import random_state, restore_random, set_determinism


def test_a_run_begun_on_a_cpu_goes_on_on_a_gpu(monkeypatch):
    state = random_state(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *_: pytest.fail("there is no state of a GPU"))
    expected = torch.rand(3)
    restore_random(state, torch.device("cuda"))
    assert torch.equal(torch.rand(3), expected)


@pytest.fixture
def settings(monkeypatch):
    """torch's settings for GPUs, put back at the end."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark

    def found():
        cuda = torch.backends.cuda
        fused = cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled()
        return (
            torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark, fused,
            os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        )  # fmt: skip

    yield found
    set_determinism(False)
    torch.use_deterministic_algorithms(before)
    torch.backends.cudnn.benchmark = benchmark
    torch.utils.deterministic.fill_uninitialized_memory = True


def test_a_gpu_takes_deterministic_kernels_or_the_fastest(settings):
    set_determinism(False)
    assert settings() == (False, True, (True,) * 3, None)
    set_determinism(True)
    assert settings() == (True, False, (False,) * 3, ":4096:8")
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    # Attention goes on without the fused kernels.
    q = torch.randn(2, 1, 4, 8)
    assert torch.nn.functional.scaled_dot_product_attention(q, q, q).shape == q.shape
