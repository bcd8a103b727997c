"""Every loss of the catalogue trains all its parameters, under one calling convention."""

import pytest
import torch
import torch.nn.functional as F

from pfml.losses import LOSSES, build_loss
from pfml.training import build_optimizer

CLASSES, DIM = 6, 8
PROXIES = {
    "pfml": 15, "cpml": 15, "proxy_anchor": 1, "proxy_nca": 1, "soft_triple": 10, "normalised_softmax": 1, "cosface": 1,
    "arcface": 1, "sub_center_arcface": 3, "proxy_nca_pp": 1, "hist": 1, "hier": 1, "proxy_gml": 12,
}  # fmt: skip
RECIPE = {
    "lr": 1.0, "proxy_lr": 2.0, "weight_decay": 0.1, "optimizer": "adamw", "decay_norms": True, "adam_eps": 1e-8
}  # fmt: skip


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(24, DIM, requires_grad=True), torch.arange(24) % CLASSES


@pytest.mark.parametrize("name", LOSSES)
def test_value_gradient_and_optimizer_groups(name, batch):
    torch.manual_seed(0)
    loss, (embeddings, labels) = build_loss(name, CLASSES, DIM), batch
    value = loss(embeddings, labels)
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


@pytest.mark.parametrize("name", LOSSES)
def test_proxies_have_the_common_shape(name):
    proxies = getattr(build_loss(name, CLASSES, DIM), "proxies", None)
    if name in PROXIES:
        assert proxies.shape == (CLASSES, PROXIES[name], DIM)
    else:
        assert proxies is None


def test_soft_triple_proxies_belong_to_their_class():
    """Embeddings at a class's own centres must be classified as that class: the reshape keeps centres together."""
    torch.manual_seed(0)
    loss = build_loss("soft_triple", CLASSES, DIM, centers_per_class=3, margin=0.0)
    at_centres = F.normalize(loss.proxies.detach(), dim=2).reshape(-1, DIM)
    right = torch.arange(CLASSES).repeat_interleave(3)
    assert loss(at_centres, right) < 0.2 * loss(at_centres, right.roll(3))


def test_proxy_anchor_equals_the_authors_formula(batch):
    """Kim et al. 2020, Eq. 4, written out: log of 1 + sum of exponentials per proxy, positives averaged over the
    proxies present, negatives over all."""
    embeddings, labels = batch
    loss = build_loss("proxy_anchor", CLASSES, DIM, margin=0.1, scale=32.0)
    cosine = F.normalize(embeddings, dim=1) @ F.normalize(loss.proxies[:, 0], dim=1).T
    own = F.one_hot(labels, CLASSES).bool()
    positive = torch.where(own, torch.exp(-32 * (cosine - 0.1)), 0).sum(0)
    negative = torch.where(own, 0, torch.exp(32 * (cosine + 0.1))).sum(0)
    expected = torch.log(1 + positive).sum() / own.any(0).sum() + torch.log(1 + negative).sum() / CLASSES
    assert loss(embeddings, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_contrastive_by_hand():
    # Same class at 60 degrees (distance 1), other class at 180 degrees from the first (distance 2) and 120 from the
    # second (distance sqrt 3): positive part mean(1), negative part mean over those inside the margin of 2 (none at 2).
    points = torch.tensor([[1.0, 0.0], [0.5, 3**0.5 / 2], [-1.0, 0.0]])
    loss = build_loss("contrastive", 2, 2, pos_margin=0.0, neg_margin=2.0)
    expected = 1 + (2 - 3**0.5)
    assert loss(points, torch.tensor([0, 0, 1])).item() == pytest.approx(expected, rel=1e-4)


def test_unknown_names_and_settings_tell_the_nearest():
    with pytest.raises(ValueError, match="'proxy_anchor'"):
        build_loss("proxy_anchr", CLASSES, DIM)
    with pytest.raises(ValueError, match="'margin'"):
        build_loss("triplet", CLASSES, DIM, margn=0.1)
