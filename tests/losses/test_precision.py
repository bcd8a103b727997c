"""Half precision and autocast around every loss: it computes in float32, and no parameter changes its type."""

import copy

import pytest
import torch

from pfml.losses import BASELINES, LOSSES
from tests.losses.baseline_cases import DIM, call, make, random_batch, rows

HALF = (torch.bfloat16, torch.float16)


def with_parameters() -> list[str]:
    return [name for name in LOSSES if any(True for _ in make(name).parameters())]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", LOSSES)
def test_half_embeddings_count_as_the_same_numbers_in_float32(name, dtype):
    loss, (embeddings, labels) = make(name), random_batch(0)
    embeddings = rows(loss, embeddings).to(dtype)
    value, grad, parameters = call(copy.deepcopy(loss), embeddings.float(), labels)
    found, found_grad, found_parameters = call(loss, embeddings, labels)
    assert found.dtype == torch.float32 and torch.equal(found, value)
    assert found_grad.dtype == dtype
    torch.testing.assert_close(found_grad.float(), grad.to(dtype).float(), rtol=1e-2, atol=1e-6)
    assert all(torch.equal(found_parameters[key], parameters[key]) for key in parameters)


@pytest.mark.parametrize("given", [torch.float32, *HALF])
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", LOSSES)
def test_autocast_around_a_loss_changes_no_bit(name, dtype, given):
    """Of value, gradient and state."""
    loss, (embeddings, labels) = make(name), random_batch(1)
    embeddings = rows(loss, embeddings)
    embeddings, alone = embeddings.to(given), copy.deepcopy(loss)
    expected = call(alone, embeddings, labels)
    embeddings = embeddings.clone().requires_grad_()
    loss.zero_grad()
    with torch.autocast("cpu", dtype):
        value = loss(embeddings, labels)
    value.backward()
    assert value.dtype == torch.float32 and torch.equal(value, expected[0])
    assert torch.equal(embeddings.grad, expected[1])
    for (key, found), wanted in zip(loss.state_dict().items(), alone.state_dict().values()):
        assert found.dtype == wanted.dtype and torch.equal(found, wanted), key


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", LOSSES)
def test_a_training_under_autocast_keeps_and_moves_float32_parameters(name, dtype):
    torch.manual_seed(0)
    network, loss = torch.nn.Linear(DIM, DIM), make(name)
    parameters = dict(loss.named_parameters())
    start = {key: value.detach().clone() for key, value in parameters.items()}
    optimizer = torch.optim.AdamW([*network.parameters(), *loss.parameters()], lr=1e-5, weight_decay=0)
    images, labels = random_batch(2)
    moved = set()
    for _ in range(3):
        with torch.autocast("cpu", dtype):
            energy = loss(rows(loss, network(images)), labels)
        assert energy.dtype == torch.float32
        optimizer.zero_grad()
        energy.backward()
        optimizer.step()
        for key, value in loss.named_parameters():
            assert value is parameters[key] and value.dtype == torch.float32
            if value.grad is not None and value.grad.abs().max() > 1e-6:
                # A step of 1e-5 is lost in bfloat16 for most numbers of this size.
                moved.add(key)
                far = value.grad.abs() > 1e-6
                assert (value != start[key])[far].float().mean() > 0.9
    assert moved or not parameters


@pytest.mark.parametrize("name", with_parameters())
def test_no_embeddings_change_the_type_of_a_parameter(name):
    """Float64 embeddings ask for a loss in float64, except of the field, which computes in float64 anyway."""
    loss, (embeddings, labels) = make(name), random_batch(3)
    embeddings = rows(loss, embeddings)
    if name in BASELINES:
        with pytest.raises(ValueError, match=r"embeddings are torch.float64, and .*torch.float32; .*loss.double\(\)"):
            loss(embeddings.double(), labels)
    else:
        assert loss(embeddings.double(), labels).dtype == torch.float64
    assert {value.dtype for value in loss.parameters()} == {torch.float32}
    wide = make(name).double()
    for given in (embeddings, embeddings.bfloat16()):
        wide(given, labels)
        assert {value.dtype for value in wide.parameters()} == {torch.float64}


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", [name for name in with_parameters() if name in BASELINES] + ["prism", "ms_das"])
def test_a_loss_in_half_precision_is_refused(name, dtype):
    loss, (embeddings, labels) = make(name).to(dtype), random_batch(4)
    embeddings = rows(loss, embeddings)
    for given in (embeddings, embeddings.to(dtype)):
        with pytest.raises(ValueError, match=rf"the loss's own numbers {dtype}; expected .* loss.float\(\)"):
            loss(given, labels)


@pytest.mark.parametrize("name", LOSSES)
def test_infinite_half_precision_is_refused_as_elsewhere(name):
    loss, (embeddings, labels) = make(name), random_batch(5)
    embeddings = rows(loss, embeddings)
    embeddings[3, 2] = 1e6
    with pytest.raises(ValueError, match=r"embeddings: 1 values are NaN or infinite, the first at \(3, 2\)"):
        loss(embeddings.half(), labels)
