"""A network cut in two gives what the whole gives, to the bit, and the rest has the whole's names."""

import pytest
import torch

from pfml.training.networks.model import build_model
from pfml.training.networks.trunk import split_network, stages_of

CUTS = [
    ("conv3", 32, {}, "frozen", 0), ("bn_inception", 64, {"pooling": "avg+max"}, "frozen", 0),
    ("tf_efficientnet_lite0", 64, {}, "frozen", 0), ("tf_efficientnet_lite0", 64, {}, "partial", 2),
    ("resnet18", 64, {"pooling": "avg+max"}, "partial", 1), ("mobilenetv2_100", 64, {}, "partial", 1),
    ("vit_tiny_patch16_224", 224, {"pooling": "cls"}, "frozen", 0),
    ("vit_tiny_patch16_224", 224, {"pooling": "cls"}, "partial", 2),
]  # fmt: skip


@pytest.mark.parametrize("backbone, side, options, trunk, stages", CUTS)
def test_front_and_rest_are_the_whole(backbone, side, options, trunk, stages):
    torch.manual_seed(0)
    model = build_model(backbone, 8, **options).eval()
    front, rest = split_network(model, trunk, stages)
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        given = front.eval()(images)
        assert given.ndim == 4 and torch.equal(rest.eval()(given), model(images))
    whole, state = model.state_dict(), rest.state_dict()
    assert state.keys() < whole.keys() and all(torch.equal(state[name], whole[name]) for name in state)
    trained = {name for name in state if not name.startswith("head.")}
    assert bool(trained) == (trunk == "partial")
    rest.load_state_dict({name: torch.zeros_like(value) for name, value in state.items()})
    assert all(not value.any() for value in rest.state_dict().values())


def test_the_front_is_left_alone_by_training_the_rest():
    torch.manual_seed(0)
    model = build_model("resnet18", 8)
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    _, rest = split_network(model, "partial", 1)
    rest.train()(torch.randn(4, 256, 4, 4)).sum().backward()
    with torch.no_grad():
        for parameter in rest.parameters():
            parameter -= parameter.grad
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


@pytest.mark.parametrize("backbone, stages, found", [("bn_inception", 1, "0 stages"), ("resnet18", 4, "layer4")])
def test_a_backbone_without_enough_stages_is_named(backbone, stages, found):
    with pytest.raises(ValueError, match=rf"train.trained_stages: expected fewer .*{found}.*found {stages}"):
        split_network(build_model(backbone, 8), "partial", stages)


def test_stages_are_in_the_order_of_the_network():
    assert stages_of(build_model("resnet18", 8).backbone) == ["layer1", "layer2", "layer3", "layer4"]
    assert stages_of(build_model("mobilenetv2_100", 8).backbone)[-1] == "blocks.6"
