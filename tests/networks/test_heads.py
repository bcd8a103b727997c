"""Pooling and heads against arithmetic that fits on a napkin, and against timm."""

import math

import pytest
import timm
import torch

from pfml.training.networks.heads import Pool, build_head
from pfml.training.networks.model import build_model


class Map(torch.nn.Module):
    """A backbone by its description only: a CNN's map, (n, C, h, w)."""


class Last(Map):
    output_fmt = "NHWC"


class Tokens(Map):
    """A class token, a register, and patches."""

    cls_token, num_prefix_tokens = torch.zeros(1), 2


MAP = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-1.0, -1.0], [-1.0, -5.0]]]])  # one image, two channels


@pytest.mark.parametrize("layout, features", [(Map(), MAP), (Last(), MAP.permute(0, 2, 3, 1))])
def test_a_map_is_pooled_over_its_places(layout, features):
    assert Pool("avg", layout)(features).tolist() == [[3.0, -2.0]]
    assert Pool("avg+max", layout)(features).tolist() == [[9.0, -3.0]]  # 3 + 6 and -2 + -1


def test_tokens_are_pooled_over_the_patches_alone():
    tokens = torch.tensor([[[100.0], [50.0], [1.0], [2.0], [6.0]]])
    assert Pool("cls", Tokens())(tokens).tolist() == [[100.0]]
    assert Pool("avg", Tokens())(tokens).tolist() == [[3.0]]
    assert Pool("avg+max", Tokens())(tokens).tolist() == [[9.0]]


def test_the_sum_is_twice_what_timm_calls_avgmax():
    torch.manual_seed(0)
    own = build_model("test_resnet", 4, pooling="avg+max").eval()
    theirs = timm.create_model("test_resnet", num_classes=0, global_pool="avgmax").eval()
    theirs.load_state_dict(own.backbone.state_dict())
    x = torch.rand(2, 3, 64, 64)
    assert torch.allclose(own.features(x), 2 * theirs(x), atol=1e-6)


@pytest.mark.parametrize("pooling, own", [("avg", "test_resnet"), ("cls", "test_vit")])
def test_without_a_pooling_timm_decides(pooling, own):
    torch.manual_seed(0)
    default, named = build_model(own, 4).eval(), build_model(own, 4, pooling=pooling).eval()
    named.load_state_dict(default.state_dict())
    x = torch.rand(2, 3, 160, 160)
    assert torch.allclose(default(x), named(x), atol=1e-6)


def test_the_tokens_have_passed_the_final_norm():
    """Mean of normalised patches; timm's own "avg" normalises the mean, with the weights under another name."""
    torch.manual_seed(0)
    model = build_model("test_vit", 4, pooling="avg").eval()
    assert "backbone.norm.weight" in model.state_dict()
    tokens = model.backbone(torch.rand(1, 3, 160, 160))
    assert torch.allclose(tokens.std(-1, correction=0), torch.ones(1, 101), atol=1e-3)
    assert torch.allclose(model.pool(tokens), tokens[:, 1:].mean(1))


def test_a_head_is_linear_with_the_initialisation_asked_for():
    torch.manual_seed(0)
    kaiming = build_head(2048, 512, init="kaiming")
    assert float(kaiming.weight.detach().std()) == pytest.approx(math.sqrt(2 / 512), rel=0.01)
    orthogonal = build_head(384, 128, init="orthogonal")
    assert torch.allclose(orthogonal.weight @ orthogonal.weight.T, torch.eye(128), atol=1e-5)
    assert not kaiming.bias.any() and not orthogonal.bias.any()
    torch.manual_seed(1)
    plain = torch.nn.Linear(10, 3)
    torch.manual_seed(1)
    assert torch.equal(build_head(10, 3).weight, plain.weight)


def test_a_layernorm_has_no_weights_and_a_batchnorm_has():
    torch.manual_seed(0)
    x = torch.rand(50, 10)
    layer, batch = build_head(10, 8, "linear+layernorm"), build_head(10, 8, "linear+batchnorm")
    assert len([*layer.parameters()]) == 2 and len([*batch.parameters()]) == 4
    assert torch.allclose(layer(x).mean(1), torch.zeros(50), atol=1e-5)
    assert torch.allclose(batch.train()(x).mean(0), torch.zeros(8), atol=1e-5)
