"""Every loss of the catalogue trains all its parameters, under one calling convention."""

import pytest
import torch
import torch.nn.functional as F

from pfml.losses import LOSSES, build_loss
from pfml.training.loop import build_optimizer
from tests.losses.baseline_cases import rows

CLASSES, DIM = 6, 8
PROXIES = {
    "pfml": 15, "cpml": 15, "proxy_anchor": 1, "proxy_nca": 1, "soft_triple": 10, "normalized_softmax": 1, "cosface": 1,
    "arcface": 1, "sub_center_arcface": 3, "proxy_nca_pp": 1, "hist": 1, "hier": 1, "proxy_gml": 12,
    "pa_niv": 1, "drml_pa": 1,
}  # fmt: skip
RECIPE = {
    "lr": 1.0, "proxy_lr": 2.0, "weight_decay": 0.1, "optimizer": "adamw", "decay_norms": True, "adam_eps": 1e-8
}  # fmt: skip


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(24, DIM, requires_grad=True), torch.arange(24) % CLASSES


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].trains])
def test_value_gradient_and_optimizer_groups(name, batch):
    torch.manual_seed(0)
    loss, (embeddings, labels) = build_loss(name, CLASSES, DIM), batch
    value = loss(rows(loss, embeddings), labels)
    assert value.ndim == 0 and value.isfinite()
    value.backward()
    assert embeddings.grad.isfinite().all() and embeddings.grad.abs().sum() > 0
    for key, parameter in loss.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, f"{key} receives no gradient"
    network = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(network, loss, RECIPE)
    placed = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter in [*network.parameters(), *loss.parameters()]:
        assert sum(parameter is p for p in placed) == 1
    rates = {group["peak_lr"]: group["weight_decay"] for group in optimizer.param_groups}
    assert rates == ({1.0: 0.1, 2.0: 0.0} if list(loss.parameters()) else {1.0: 0.1})


def test_zero_shot_trains_nothing(batch):
    loss, (embeddings, labels) = build_loss("zero_shot", CLASSES, DIM), batch
    value = loss(embeddings, labels)
    value.backward()
    assert value == 0 and not embeddings.grad.any() and not list(loss.parameters())
    assert [name for name in LOSSES if not LOSSES[name].trains] == ["zero_shot"]


@pytest.mark.parametrize("name", LOSSES)
def test_proxies_have_the_common_shape(name):
    proxies = getattr(build_loss(name, CLASSES, DIM), "proxies", None)
    if name in PROXIES or (proxies is not None and LOSSES[name].acts == "proxy"):
        assert proxies.shape == (CLASSES, PROXIES.get(name, proxies.shape[1]), DIM)
    else:
        assert proxies is None


def test_soft_triple_proxies_belong_to_their_class():
    """Embeddings at a class's own centres must be classified as that class: the reshape keeps centres together."""
    torch.manual_seed(0)
    loss = build_loss("soft_triple", CLASSES, DIM, centers_per_class=3, margin=0.0)
    at_centres = F.normalize(loss.proxies.detach(), dim=2).reshape(-1, DIM)
    right = torch.arange(CLASSES).repeat_interleave(3)
    assert loss(at_centres, right) < 0.2 * loss(at_centres, right.roll(3))


def test_unknown_names_and_settings_tell_the_nearest():
    with pytest.raises(ValueError, match="'proxy_anchor'"):
        build_loss("proxy_anchr", CLASSES, DIM)
    with pytest.raises(ValueError, match="'margin'"):
        build_loss("triplet", CLASSES, DIM, margn=0.1)
