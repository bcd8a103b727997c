"""BatchNorm of the backbone stays as it is, and the rest trains."""

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from pfml.training.networks.model import build_model, freeze_batchnorm


def step(name: str, mode: str, size: int) -> tuple[torch.nn.Module, dict]:
    """A network after a step of training, and its state before."""
    torch.manual_seed(0)
    model = build_model(name, 8, head="linear+batchnorm")
    model.train()
    freeze_batchnorm(model, mode)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (model(torch.rand(4, 3, size, size)) ** 3).sum().backward()
    optimizer.step()
    return model, before


@pytest.mark.parametrize(
    "name, size, layers", [("conv3", 32, 3), ("conv4", 32, 4), ("bn_inception", 64, 69), ("test_resnet", 64, 15)]
)
@pytest.mark.parametrize("mode", ["none", "statistics", "statistics+affine"])
def test_what_moves_and_what_stays(name, size, layers, mode):
    model, before = step(name, mode, size)
    after = model.state_dict()
    norms = {f"backbone.{n}": m for n, m in model.backbone.named_modules() if isinstance(m, _BatchNorm)}
    assert len(norms) == layers
    moved = [
        not torch.equal(before[f"{n}.{s}"], after[f"{n}.{s}"]) for n in norms for s in ("running_mean", "running_var")
    ]
    assert all(moved) if mode == "none" else not any(moved)
    for norm_name, norm in norms.items():
        for parameter in ("weight", "bias"):
            trains = getattr(norm, parameter).grad is not None
            assert trains == (mode != "statistics+affine")
            name = f"{norm_name}.{parameter}"
            assert trains or torch.equal(before[name], after[name])
    assert not torch.equal(before["head.1.running_mean"], after["head.1.running_mean"]), "the head's is never frozen"
    others = [p for n, p in model.named_parameters() if n.startswith("head.") or p.ndim > 1]
    assert all(p.grad is not None for p in others), "the head, and the convolutions, train on"


def test_training_mode_thaws_so_it_is_called_again():
    model = build_model("conv4", 8)
    freeze_batchnorm(model, "statistics")
    model.train()
    assert all(layer.training for layer in model.modules() if isinstance(layer, _BatchNorm))


def test_a_warm_up_stays_frozen():
    model = build_model("conv4", 8)
    model.backbone.requires_grad_(False)
    freeze_batchnorm(model, "statistics")
    assert not any(p.requires_grad for p in model.backbone.parameters())


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"train\.freeze_bn: unknown name 'all'; expected one of: none, stat"):
        freeze_batchnorm(build_model("conv4", 8), "all")
