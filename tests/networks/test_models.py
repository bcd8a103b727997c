"""Every backbone, pooling and head on random weights: shapes, names, and the networks that must never change."""

import hashlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from pfml.training.networks.model import build_model


def digest(model: torch.nn.Module) -> str:
    """Of every name, shape and value of a state dict, in order."""
    total = hashlib.sha256()
    for name, value in model.state_dict().items():
        total.update(f"{name}{tuple(value.shape)}".encode() + value.numpy().tobytes())
    return total.hexdigest()


def embed(model: torch.nn.Module, size: int, images: int = 1) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(torch.rand(images, 3, size, size))


def test_conv4_is_the_documented_network():
    model = build_model("conv4", 64)
    assert embed(model, 32, images=2).shape == (2, 64)
    assert 0.10e6 < sum(p.numel() for p in model.parameters()) < 0.12e6


def test_conv4_begins_with_the_same_bits_as_ever():
    """Every result of the embedded study hangs on these: names, order, initialisation."""
    torch.manual_seed(3)
    assert digest(build_model("conv4", 64)) == "ced30c1bfe56f5015532e7e4965c4cfcf25282826ad17e0203fd6cb7795994df"


def test_conv3_begins_with_the_same_bits_as_ever():
    """Every result of the embedded study hangs on these: names, order, initialisation."""
    torch.manual_seed(3)
    model = build_model("conv3", 64)
    assert 0.085e6 < sum(p.numel() for p in model.parameters()) < 0.095e6
    assert digest(model) == "4023b05735903cf325067d7790cd0a8e7c82e7d89c26118bf82d5f81a7e488f9"


def test_conv3_keeps_the_places_of_its_map_side_by_side():
    torch.manual_seed(0)
    model, x = build_model("conv3", 8).eval(), torch.rand(2, 3, 32, 32)
    maps = model.backbone.blocks[:-2](x)
    assert maps.shape == (2, 64, 4, 4) and model.backbone.num_features == 1024
    assert torch.allclose(model(x), model.head(maps.flatten(1)), atol=1e-6)  # channels first, then rows, then columns


@pytest.mark.parametrize("size", [64, 48, 16, 8])
def test_conv3_takes_images_of_other_sizes(size):
    assert embed(build_model("conv3", 8), size, images=2).shape == (2, 8)


def test_conv4_averages_its_map():
    torch.manual_seed(0)
    model, x = build_model("conv4", 8).eval(), torch.rand(2, 3, 32, 32)
    by_hand = model.head(model.backbone.blocks(x).mean((2, 3)))
    assert torch.equal(model(x), by_hand)


@pytest.mark.parametrize(
    "name, size, dim, options",
    [
        ("bn_inception", 224, 512, {"pooling": "avg+max", "head_init": "kaiming"}),
        ("bn_inception", 227, 64, {}),
        ("resnet50.tv_in1k", 224, 512, {"pooling": "avg+max", "head": "linear+layernorm"}),
        ("vit_small_patch16_224.augreg_in21k", 224, 384, {"pooling": "cls"}),
        ("vit_small_patch16_224.dino", 224, 384, {"pooling": "avg", "head_init": "orthogonal"}),
        ("mobilenetv2_100", 224, 128, {"head": "linear+batchnorm", "backbone_options": {"pad_type": "same"}}),
        ("densenet169", 224, 128, {"pooling": "avg"}),
        ("swin_tiny_patch4_window7_224", 224, 128, {"pooling": "avg+max"}),  # maps with the channels last
        ("mobilenetv3_small_100", 224, 64, {}),  # widens its features after pooling
        ("test_resnet", 64, 16, {}),
    ],
)
def test_every_backbone_gives_embeddings_of_the_length_asked_for(name, size, dim, options):
    found = embed(build_model(name, dim, **options), size)
    assert found.shape == (1, dim) and found.isfinite().all()


@pytest.mark.parametrize("head", ["linear", "linear+layernorm", "linear+batchnorm", "mlp"])
@pytest.mark.parametrize("name, size", [("conv3", 32), ("conv4", 32), ("bn_inception", 64), ("test_vit", 160)])
def test_a_state_dict_survives_safetensors(name, size, head, tmp_path):
    torch.manual_seed(0)
    model, again = build_model(name, 64, head=head), build_model(name, 64, head=head)
    x = torch.rand(2, 3, size, size)
    with torch.no_grad():
        model.train()(x)  # moves the running statistics
        save_file(model.state_dict(), tmp_path / "model.safetensors")
        again.load_state_dict(load_file(tmp_path / "model.safetensors"))
        assert torch.equal(model.eval()(x), again.eval()(x))


def test_backbone_and_head_are_all_parameters():
    """So that two rates, or a warm-up of the head alone, reach everything once."""
    model = build_model("test_vit", 16, pooling="cls", head="linear+batchnorm")
    parts = [*model.backbone.parameters(), *model.head.parameters()]
    assert [id(p) for p in parts] == [id(p) for p in model.parameters()]


@pytest.mark.parametrize("name, size", [("conv3", 32), ("conv4", 32), ("bn_inception", 64)])
def test_the_gradient_reaches_every_parameter(name, size):
    torch.manual_seed(0)
    model = build_model(name, 16, pooling="avg+max")
    model.eval()  # with batch statistics a bias before a BatchNorm would change nothing
    model(torch.rand(4, 3, size, size)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    "arguments, said",
    [
        (
            {"backbone": "resnet51x"},
            r"model\.backbone: 'resnet51x' is neither conv3, conv4, bn_inception nor known to timm",
        ),
        ({"backbone": "resnet50.nowhere"}, r"model\.backbone: resnet50\.nowhere .*Invalid pretrained tag"),
        (
            {"backbone": "conv4", "pretrained": True},
            r"model\.pretrained: conv4 has no published weights; expected false",
        ),
        (
            {"backbone": "conv4", "weights": "pretrained"},
            r"model\.weights: conv4 has no published weights; expected null",
        ),
        (
            {"backbone": "bn_inception", "pretrained": True, "weights": "my.pth"},
            r"model\.weights: found 'my\.pth' togeth",
        ),
        ({"backbone": "conv4", "weights": "gone.pth"}, r"model\.weights: expected 'pretrained' or an existing file"),
        (
            {"backbone": "test_resnet", "backbone_options": {"paddle": 1}},
            r"model\.backbone_options {'paddle': 1}: .*paddle",
        ),
        ({"backbone": "conv4", "backbone_options": {"depth": 5}}, r"model\.backbone_options {'depth': 5}: .*depth"),
        ({"backbone": "test_resnet", "backbone_options": {"num_classes": 9}}, r"backbone_options: num_classes cannot"),
        ({"backbone": "test_resnet", "backbone_options": {"checkpoint_path": "x"}}, r"options: checkpoint_path cannot"),
        ({"backbone": "conv4", "embedding_dim": 0}, r"model\.embedding_dim: expected 1 or more, found 0"),
        (
            {"backbone": "conv4", "head": "cosine"},
            r"model\.head: unknown name 'cosine'; expected one of: linear, linear\+layer",
        ),
        ({"backbone": "conv4", "head": "none"}, r"model\.embedding_dim: head none gives the 128 features, found 64"),
        (
            {"backbone": "conv4", "head_init": "xavier"},
            r"model\.head_init: unknown name 'xavier'; expected one of: default",
        ),
        (
            {"backbone": "conv4", "pooling": "gem"},
            r"model\.pooling: unknown name 'gem'; expected one of: avg, avg\+max, cls",
        ),
        (
            {"backbone": "bn_inception", "pooling": "cls"},
            r"model\.pooling: 'cls' needs a class token, and BNInception has",
        ),
        (
            {"backbone": "test_resnet", "pooling": "cls"},
            r"model\.pooling: 'cls' needs a class token, and ResNet has none",
        ),
    ],
)
def test_what_does_not_exist_is_refused_by_its_key(arguments, said):
    with pytest.raises(ValueError, match=said):
        build_model(**{"embedding_dim": 64} | arguments)
