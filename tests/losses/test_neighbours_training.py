"""A loss with the list of near pairs trains as one without: resumed, copied, and shared by threads too."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pfml.losses.field.neighbours import Neighbours
from pfml.losses.field.potential_field import PotentialFieldLoss
from tests.oracles.field import assert_agrees, power_law

pytestmark = pytest.mark.usefixtures("small_lists")


def trajectory(loss, steps, seed=0, lr=0.05, optimizer=None):
    """Values and last gradient of some steps on random batches of tight classes, of Adam unless given."""
    g = torch.Generator().manual_seed(seed)
    optimizer = optimizer or torch.optim.Adam(loss.parameters(), lr=lr)
    centres = torch.nn.functional.normalize(torch.randn(loss.num_classes, loss.embedding_dim, generator=g), dim=1)
    values = []
    for _ in range(steps):
        labels = torch.randint(loss.num_classes, (20,), generator=g)
        embeddings = centres[labels] + 0.1 * torch.randn(20, loss.embedding_dim, generator=g)
        optimizer.zero_grad()
        value = loss(embeddings, labels)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    return values, loss.proxies.grad.clone()


@pytest.mark.parametrize("dim", [6, 40])
@pytest.mark.parametrize("delta_rep", [0.25, 0.8])
def test_a_training_with_the_list_is_the_same_as_without(dim, delta_rep, searches, monkeypatch):
    torch.manual_seed(0)
    with_list = PotentialFieldLoss(12, dim, 4, delta_rep=delta_rep)
    without = copy.deepcopy(with_list)
    values, grad = trajectory(with_list, 25)
    assert len(searches) > 1
    monkeypatch.setattr(Neighbours, "least", 10**9)
    plain_values, plain_grad = trajectory(without, 25)
    assert values == pytest.approx(plain_values, rel=1e-6)
    torch.testing.assert_close(grad, plain_grad, rtol=1e-4, atol=1e-4 * float(plain_grad.abs().max()))


@pytest.mark.parametrize("delta_rep", [0.25, 0.8])
def test_a_resumed_training_is_the_same_to_the_bit(delta_rep):
    """The order of a list tells its history, and sums of floats tell their order."""
    torch.manual_seed(0)
    loss = PotentialFieldLoss(12, 20, 4, delta_rep=delta_rep)
    trajectory(loss, 12, seed=1, lr=0.2)
    checkpoint = {key: value.clone() for key, value in loss.state_dict().items()}
    went_on = trajectory(loss, 12, seed=2, lr=0.2)
    resumed = PotentialFieldLoss(12, 20, 4, delta_rep=delta_rep)
    resumed.load_state_dict(checkpoint)
    values, grad = trajectory(resumed, 12, seed=2, lr=0.2)
    assert values == went_on[0]
    assert torch.equal(grad, went_on[1])


def test_the_list_agrees_with_the_double_loop_after_a_walk():
    torch.manual_seed(0)
    loss = PotentialFieldLoss(10, 20, 3, delta_rep=0.6)
    trajectory(loss, 15)
    assert loss._memory.neighbours.reference is not None
    embeddings, labels = torch.randn(12, 20), torch.arange(12) % 10
    assert_agrees(loss, embeddings, labels, power_law(3.0, 0.2, 0.6))


def test_threads_that_share_a_loss_get_the_right_sums():
    """As the replicas of DataParallel do: what is remembered belongs to one of them at a time."""
    torch.manual_seed(0)
    loss = PotentialFieldLoss(10, 20, 30, delta_rep=0.6)
    batches = [(torch.randn(40, 20), torch.randint(10, (40,))) for _ in range(4)]
    expected = [loss(*batch).item() for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            found = list(pool.map(lambda batch: loss(*batch).item(), batches))
            assert found == pytest.approx(expected, rel=1e-6)


def test_a_copy_starts_empty():
    loss = PotentialFieldLoss(10, 20, 3, delta_rep=0.6)
    trajectory(loss, 3)
    assert loss._memory.neighbours.reference is not None
    assert copy.deepcopy(loss)._memory.neighbours.reference is None
