"""What ranks do to a network, and when they refuse to start."""

import pytest
import torch

from pfml.training.networks.model import build_model
from pfml.training.processes import joined_ranks, with_sync_batchnorm


@pytest.mark.parametrize("backbone", ["mobilenetv2_100", "resnet50", "densenet169"])
def test_joined_batch_statistics_leave_the_network_what_it_computes(backbone):
    """timm's layers with an activation in them included."""
    torch.manual_seed(0)
    model = build_model(backbone, 8).eval()
    images = torch.randn(2, 3, 64, 64)
    expected = model(images)
    joined = with_sync_batchnorm(model)
    kinds = {type(part) for part in joined.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)}
    assert kinds and all(issubclass(kind, torch.nn.SyncBatchNorm) for kind in kinds)
    assert torch.allclose(joined(images), expected, atol=1e-6)


def test_every_process_needs_a_gpu_where_there_are_gpus(monkeypatch):
    for name, value in (("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(ValueError, match="PFML_PROCESSES: expected a GPU for each of 4 processes, found 1"),
        joined_ranks(),
    ):
        pass
