import pytest
import torch

from pfml.models import build_model


def test_conv4_is_the_documented_network():
    model = build_model("conv4", 64)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 64)
    assert 0.10e6 < sum(p.numel() for p in model.parameters()) < 0.12e6


def test_timm_backbones_fit_the_head():
    assert build_model("test_resnet", 16).eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 16)


def test_unknown_backbones_are_named():
    with pytest.raises(ValueError, match=r"model\.backbone: 'resnet51x'"):
        build_model("resnet51x", 64)
    with pytest.raises(ValueError, match=r"model\.pretrained"):
        build_model("conv4", 64, pretrained=True)
