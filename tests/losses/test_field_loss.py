"""What both losses share: precision, calling conventions, proxies, and messages about bad input."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as pml

from pfml.losses.field.potential_field import PotentialFieldLoss
from pfml.losses.field.proxies import ProxyInit
from tests.oracles.field import double_loop, power_law, random_batch

# --- precision and conventions


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_field_is_float32_under_autocast_and_for_half_embeddings(half):
    embeddings, labels, _ = random_batch(10, 8, 16, 3, spread=0.2)
    loss = PotentialFieldLoss(3, 16, 2)
    plain = loss(embeddings, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(embeddings, labels)
    assert inside.dtype == torch.float32 and torch.equal(plain, inside)
    rounded = torch.nn.functional.normalize(embeddings).to(half).requires_grad_()
    value = loss(rounded, labels)
    value.backward()
    assert torch.equal(value, loss(rounded.detach().float(), labels)) and rounded.grad.dtype == half


def test_reduced_precision_products_are_off_inside_and_back_afterwards(monkeypatch):
    embeddings, labels, _ = random_batch(15, 8, 4, 3)
    loss, seen = PotentialFieldLoss(3, 4, 2), []
    backend = torch.backends.mkldnn.matmul
    monkeypatch.setattr(loss, "_energy", lambda *batch: seen.append(backend.fp32_precision))
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        allowed = backend.fp32_precision
        loss(embeddings, labels)
        assert seen == ["ieee"] and backend.fp32_precision == allowed != "ieee"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_call_convention_of_pytorch_metric_learning():
    embeddings, labels, _ = random_batch(11, 8, 4, 3)
    loss = PotentialFieldLoss(3, 4, 2)
    triplets = tuple(torch.zeros(1, dtype=torch.int64) for _ in range(3))
    assert torch.equal(loss(embeddings, labels, triplets), loss(embeddings, labels, indices_tuple=None))
    both = pml.MultipleLosses([loss, pml.ContrastiveLoss()], weights=[1.0, 0.0])
    assert torch.allclose(both(embeddings, labels), loss(embeddings, labels))


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int64])
def test_any_integer_labels(dtype):
    embeddings, labels, _ = random_batch(12, 8, 4, 3)
    loss = PotentialFieldLoss(3, 4, 2)
    assert torch.equal(loss(embeddings, labels.to(dtype)), loss(embeddings, labels))


# --- proxies


@pytest.mark.parametrize("init", get_args(ProxyInit))
def test_proxy_shape_and_length(init):
    loss = PotentialFieldLoss(20, 64, 5, proxy_init=init)
    assert loss.proxies.shape == (20, 5, 64)
    length = float(loss.proxies.detach().norm(dim=2).mean())
    assert length == pytest.approx(math.sqrt(2 * 64 / 100) if init == "kaiming" else 8.0, rel=0.1)


def test_free_proxies_start_on_the_scale_of_the_sphere():
    loss = PotentialFieldLoss(20, 64, 5, normalize_proxies=False)
    assert float(loss.proxies.detach().norm(dim=2).mean()) == pytest.approx(1, rel=0.1)


def test_data_proxies_are_embeddings_of_their_class():
    embeddings, labels = torch.randn(20, 4), torch.tensor([0] * 15 + [1] * 5)
    loss = PotentialFieldLoss(3, 4, 6, proxy_init="data")
    before = loss.proxies[2].detach().clone()
    loss.initialize_proxies(embeddings, labels, torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss.proxies.norm(dim=2)[:2], torch.full((2, 6), 2.0))
    nearest = torch.cdist(loss.proxies.detach()[:2].flatten(0, 1) / 2, torch.nn.functional.normalize(embeddings))
    assert nearest.amin(1).max() < 1e-3
    assert (labels[nearest.argmin(1)] == torch.tensor([0] * 6 + [1] * 6)).all()
    assert len(set(nearest[:6].argmin(1).tolist())) == 6, "without replacement where there are enough"
    assert torch.equal(loss.proxies[2], before), "a class without embeddings keeps its directions"
    again = PotentialFieldLoss(3, 4, 6, proxy_init="data")
    again.initialize_proxies(embeddings, labels, torch.Generator().manual_seed(0))
    assert torch.equal(again.proxies[:2], loss.proxies[:2])


def test_data_proxies_must_be_set_before_use_and_a_loaded_loss_counts():
    embeddings, labels, _ = random_batch(13, 8, 4, 2)
    loss = PotentialFieldLoss(2, 4, 2, proxy_init="data")
    with pytest.raises(RuntimeError, match="initialize_proxies"):
        loss(embeddings, labels)
    loss.initialize_proxies(embeddings, labels)
    value = loss(embeddings, labels)
    copy = PotentialFieldLoss(2, 4, 2, proxy_init="data")
    copy.load_state_dict(loss.state_dict())
    assert torch.equal(copy(embeddings, labels), value)


def test_no_proxies():
    embeddings, labels, _ = random_batch(14, 6, 4, 2)
    loss = PotentialFieldLoss(2, 4, 0, proxy_init="data")
    assert loss.proxies.shape == (2, 0, 4)
    optimiser = torch.optim.Adam(loss.parameters())
    loss(embeddings.requires_grad_(), labels).backward()
    optimiser.step()
    assert embeddings.grad.any()
    _, grad, _ = double_loop(embeddings, labels, loss.proxies, power_law(3.0, 0.2))
    torch.testing.assert_close(embeddings.grad.double(), grad, rtol=1e-5, atol=1e-6)


# --- bad input


def good():
    return {"embeddings": torch.randn(4, 3), "labels": torch.tensor([0, 0, 1, 1])}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"labels": torch.tensor([0, 0, 1, 2])}, ["labels", r"\[0, 2\]", r"\[0, 1\]"]),
        ({"labels": torch.tensor([-1, 0, 1, 1])}, ["labels", r"\[-1, 1\]"]),
        ({"labels": torch.tensor([0.0, 0, 1, 1])}, ["labels", "float32", "integer"]),
        ({"labels": torch.tensor([True, False, True, True])}, ["labels", "bool", "integer"]),
        ({"labels": [0, 0, 1, 1]}, ["labels", "list", "tensor"]),
        ({"labels": torch.tensor([0, 1])}, ["labels", r"\(2,\)", r"\(4,\)"]),
        ({"labels": torch.tensor([[0], [0], [1], [1]])}, ["labels", r"\(4, 1\)", r"\(4,\)"]),
        ({"embeddings": torch.randn(4, 5)}, ["embeddings", r"\(4, 5\)", r"\(B, 3\)"]),
        ({"embeddings": torch.randn(4, 3, 1)}, ["embeddings", r"\(4, 3, 1\)"]),
        ({"embeddings": torch.ones(4, 3, dtype=torch.int64)}, ["embeddings", "int64", "floating"]),
        ({"embeddings": torch.full((4, 3), float("nan"))}, ["embeddings", "NaN", "finite", "12"]),
        ({"embeddings": torch.full((4, 3), float("inf"))}, ["embeddings", "infinite"]),
        (
            {"embeddings": torch.randn(1, 3), "labels": torch.tensor([0])},
            ["embeddings", "batch of 1", "at least 2"],
        ),
    ],
)
def test_bad_input_is_named(change, words):
    loss = PotentialFieldLoss(2, 3, 1)
    with pytest.raises(ValueError) as error:
        loss(**(good() | change))
    for word in words:
        assert error.match(word)


def test_an_old_name_answers_with_the_new_one():
    loss = PotentialFieldLoss(2, 3, 1)
    assert not hasattr(loss, "initialise_proxies")
    with pytest.raises(AttributeError, match="initialise_proxies is called initialize_proxies now"):
        loss.initialise_proxies(torch.randn(4, 3), torch.tensor([0, 0, 1, 1]))
    with pytest.raises(AttributeError, match="no attribute 'initialise'"):
        _ = loss.initialise


def test_embeddings_on_another_device_are_named():
    loss = PotentialFieldLoss(2, 3, 1).to("meta")
    with pytest.raises(ValueError, match=r"embeddings are on cpu, the loss's proxies on meta.*loss\.to\('cpu'\)"):
        loss(**good())


def test_counts_may_be_of_any_integer_type():
    loss = PotentialFieldLoss(np.int64(2), torch.tensor(3), np.uint8(1))
    assert loss.proxies.shape == (2, 1, 3) and type(loss.num_classes) is int
    with pytest.raises(ValueError, match=r"num_classes=.*2.0.*integer"):
        PotentialFieldLoss(np.float64(2), 3)


def test_proxies_cannot_start_at_vectors_without_direction():
    loss = PotentialFieldLoss(2, 3, 1, proxy_init="data")
    embeddings = torch.ones(4, 3)
    embeddings[2] = 0
    with pytest.raises(ValueError, match="embeddings: 1 rows are zero, the first is row 2"):
        loss.initialize_proxies(embeddings, torch.tensor([0, 0, 1, 1]))
    assert not loss.proxies_ready


def test_classes_without_embeddings_are_told():
    loss = PotentialFieldLoss(5, 3, 1, proxy_init="data")
    before = loss.proxies.detach().clone()
    with pytest.warns(UserWarning, match="3 of 5 classes have no embedding"):
        loss.initialize_proxies(torch.ones(4, 3), torch.tensor([0, 0, 3, 3]))
    assert torch.equal(loss.proxies[[1, 2, 4]], before[[1, 2, 4]])
    assert not torch.equal(loss.proxies[[0, 3]], before[[0, 3]])


def test_broken_proxies_are_named():
    loss = PotentialFieldLoss(2, 3, 1)
    with torch.no_grad():
        loss.proxies[1, 0, 2] = float("nan")
    with pytest.raises(ValueError, match=r"proxies: .*\(1, 0, 2\)"):
        loss(**good())


@pytest.mark.parametrize(
    "change, words",
    [
        ({"alpha": -1}, ["alpha=-1", ">= 0"]),
        ({"delta": 0}, ["delta=0", "> 0"]),
        ({"delta": -0.1}, ["delta=-0.1"]),
        ({"delta_rep": 0.0}, ["delta_rep=0", "> 0"]),
        ({"delta": float("nan")}, ["delta=nan"]),
        ({"delta": "wide"}, ["delta='wide'", "number"]),
        ({"eps": 0}, ["eps=0"]),
        ({"eps": 0.5}, ["eps=0.5", "delta_rep"]),
        ({"proxies_per_class": -1}, ["proxies_per_class=-1", ">= 0"]),
        ({"num_classes": 0}, ["num_classes=0", ">= 1"]),
        ({"embedding_dim": 2.5}, ["embedding_dim=2.5", "integer"]),
        ({"proxy_init": "zeros"}, ["proxy_init='zeros'", "random, kaiming, data"]),
        ({"reduction": "mean"}, ["reduction='mean'", "sum, pair_mean, anchor_mean"]),
        ({"proxy_proxy": "some"}, ["proxy_proxy='some'", "all, repulsion, none"]),
        ({"alpha_zero": "flat"}, ["alpha_zero='flat'", "log, linear"]),
    ],
)
def test_bad_settings_are_named(change, words):
    with pytest.raises(ValueError) as error:
        PotentialFieldLoss(**({"num_classes": 2, "embedding_dim": 3} | change))
    for word in words:
        assert error.match(word)
