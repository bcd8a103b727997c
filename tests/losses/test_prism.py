"""PRISM: the filter by hand, whole runs against the authors' arithmetic with lists, and runs that stop and go on."""

import pytest
import torch

from tests.losses.baseline_cases import CLASSES, DIM, call, make, random_batch
from tests.oracles.memory import Prism


def noisy_batches(count=12, size=16, dtype=torch.float64):
    for seed in range(count):
        embeddings, labels = random_batch(3, count=200, spread=0.5, dtype=dtype)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(200, generator=generator)[:size]
        wrong = torch.rand(size, generator=generator) < 0.3
        labels = torch.where(wrong, torch.randint(CLASSES, (size,), generator=generator), labels[rows])
        yield embeddings[rows], labels


@pytest.mark.parametrize("settings", [
    {"noise_rate": 0.3, "memory": 40, "window": 3}, {"noise_rate": 0.5, "memory": 16, "window": 1},
    {"noise_rate": 0.2, "memory": 100, "window": 5, "warmup": 4, "weight": 0.5, "margin": 0.2},
    {"noise_rate": 0.0, "memory": 33, "window": 2}, {"noise_rate": 0.9, "memory": 60, "window": 30},
], ids=str)  # fmt: skip
def test_a_run_equals_the_authors_step_by_step(settings):
    loss, authors, filtered = make("prism", **settings).double(), Prism(CLASSES, DIM, **settings), 0
    for embeddings, labels in noisy_batches():
        value, grad, _ = call(loss, embeddings, labels)
        leaf = embeddings.clone().requires_grad_()
        expected = authors.step(leaf, labels)
        torch.testing.assert_close(value, torch.as_tensor(expected).detach().double(), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(grad, torch.autograd.grad(expected, leaf)[0], rtol=1e-7, atol=1e-9)
        assert loss.memory_labels.tolist() == authors.labels and int(loss.pointer) == authors.next
        assert int(loss.filled) == len(authors.bounds)
        filtered += int(loss.filled) > 0
    assert filtered == 0 if settings["noise_rate"] == 0 else filtered > 4


def test_the_filter_by_hand():
    """East is class 0, north class 1; an image in the east labelled 1 goes, its threshold being its own probability."""
    loss = make("prism", 2, 2, noise_rate=0.25, memory=8, window=4)
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    with torch.no_grad():
        loss.centers.copy_(torch.stack([east, north]))
        loss.known.fill_(True)
    keep = loss.select(torch.stack([east, north, east, north]), torch.tensor([0, 1, 1, 1]))
    assert keep.tolist() == [True, True, False, True]
    wrong, right = 1 / (1 + torch.e), torch.e / (1 + torch.e)
    assert loss.thresholds[-1].item() == pytest.approx(wrong, rel=1e-6) and loss.filled == 1
    # All right: the smallest of four equal probabilities enters the average, and all are above that.
    keep = loss.select(torch.stack([east] * 4), torch.zeros(4, dtype=torch.int64))
    assert keep.all() and loss.thresholds.sum().item() == pytest.approx(wrong + right, rel=1e-6)


def test_when_all_are_below_the_average_only_the_worst_go_and_it_starts_anew():
    loss = make("prism", 2, 2, noise_rate=0.5, memory=8, window=4)
    with torch.no_grad():
        loss.centers.copy_(torch.eye(2))
        loss.known.fill_(True)
        loss.thresholds.copy_(torch.tensor([0.9, 0.9, 0.9, 0.9]))
        loss.filled.fill_(4)
    keep = loss.select(torch.eye(2)[[0, 0]], torch.tensor([0, 1]))
    assert keep.tolist() == [True, False] and loss.filled == 1
    assert loss.thresholds.tolist() == [0, 0, 0, pytest.approx(1 / (1 + torch.e), rel=1e-6)]


def test_a_label_that_the_memory_does_not_know_counts_as_clean():
    loss = make("prism", 3, 2, noise_rate=0.5, memory=8)
    with torch.no_grad():
        loss.centers[:2] = torch.eye(2)
        loss.known[:2] = True
    keep = loss.select(torch.eye(2)[[0, 0, 1, 1]], torch.tensor([0, 1, 2, 2]))
    assert keep.tolist() == [False, False, True, True], "the second worst is the threshold"


def test_a_resumed_run_is_bit_equal():
    batches = list(noisy_batches(dtype=torch.float32))
    straight, first, second = (make("prism", memory=40, window=3, seed=seed) for seed in range(3))
    expected = [call(straight, *batch)[:2] for batch in batches]
    for batch in batches[:5]:
        call(first, *batch)
    second.load_state_dict(first.state_dict())
    for batch, (value, grad) in zip(batches[5:], expected[5:]):
        found = call(second, *batch)
        assert torch.equal(found[0], value) and torch.equal(found[1], grad)
    assert all(torch.equal(a, b) for a, b in zip(straight.state_dict().values(), second.state_dict().values()))
    assert not list(straight.parameters())


def test_a_batch_larger_than_the_memory_is_refused():
    with pytest.raises(ValueError, match="memory=8"):
        make("prism", memory=8)(*random_batch(0, count=9))
