"""PRISM: the filter by hand, whole runs against the authors' arithmetic with lists, and runs that stop and go on."""

import pytest
import torch

from tests.losses.baseline_cases import CLASSES, DIM, call, make, random_batch


class Authors:
    """Their memory, filter and contrastive loss, image by image."""

    def __init__(self, classes, dim, noise_rate, memory, window, margin=0.5, weight=1.0, warmup=0):
        self.rate, self.size, self.window, self.margin, self.weight = noise_rate, memory, window, margin, weight
        self.warmup, self.steps, self.bounds, self.last, self.means = warmup, 0, [], None, {}
        self.rows, self.labels, self.next = [None] * memory, [-1] * memory, 0
        self.classes, self.dim = classes, dim

    def held(self):
        count = self.size if self.labels[-1] != -1 else self.next
        return [(r, y) for r, y in zip(self.rows[:count], self.labels[:count])]

    def contrast(self, anchors, others, count):
        total = 0
        for a, y in anchors:
            for b, z in others:
                if b is None:
                    continue
                s = a @ b
                if y == z and s < 1 - 1e-5:
                    total = total + 1 - s
                elif y != z and s > self.margin:
                    total = total + s
        return total / count

    def keep(self, batch):
        held = self.held()
        for c in set(self.last or []):
            self.means[c] = torch.stack([r for r, y in held if y == c]).mean(0)
        probabilities = []
        for x, y in batch:
            if y not in self.means:
                probabilities.append(1.0)
                continue
            zero = torch.zeros(self.dim, dtype=torch.float64)
            shares = [torch.exp(self.means.get(c, zero) @ x) for c in range(self.classes)]
            probabilities.append((shares[y] / sum(shares)).item())
        remove = int(self.rate * len(batch))
        if not remove:
            return [True] * len(batch)
        worst = sorted(range(len(batch)), key=lambda i: probabilities[i])[:remove]
        if probabilities[worst[-1]] != 1.0:
            self.bounds = [*self.bounds, probabilities[worst[-1]]][-self.window :]
        if self.bounds:
            bound = sum(self.bounds) / len(self.bounds)
            if any(p > bound for p in probabilities):
                return [p > bound for p in probabilities]
            self.bounds = self.bounds[-1:]
        return [i not in worst for i in range(len(batch))]

    def step(self, embeddings, labels):
        batch = [(e / e.norm(), int(y)) for e, y in zip(embeddings, labels)]
        loss, kept, held = 0, [True] * len(batch), self.held()
        if held:
            if self.steps >= self.warmup:
                kept = self.keep([(x.detach(), y) for x, y in batch])
            chosen = [item for item, k in zip(batch, kept) if k]
            loss = self.weight * self.contrast(chosen, held, len(batch))
            self.last = [y for _, y in chosen]
        chosen = [item for item, k in zip(batch, kept) if k]
        loss = loss + self.contrast(chosen, chosen, len(chosen))
        first = self.next if self.next + len(chosen) <= self.size else self.size - len(chosen)
        for place, (x, y) in enumerate(chosen, first):
            self.rows[place], self.labels[place] = x.detach(), y
        self.next = first + len(chosen) if first == self.next else 0
        self.steps += 1
        return loss


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
    loss, authors, filtered = make("prism", **settings).double(), Authors(CLASSES, DIM, **settings), 0
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
