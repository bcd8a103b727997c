"""Multi-Similarity with densely-anchored sampling: counts, rings and made embeddings by hand and in loops."""

import inspect
import math

import pytest
import torch

from tests.losses.baseline_cases import CLASSES, DIM, assert_agrees, call, make, random_batch
from tests.oracles.memory import Ring, first_das_step
from tests.oracles.methods import uniform_numbers


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("settings", [
    {}, {"detach": False, "scale_low": 0.5, "scale_high": 2.0, "shift_scale": 0.1}, {"produced": 0}, {"scaled": 0},
    {"produced": 1, "bank": 3, "scaled": 2}, {"bank": 100, "epsilon": 0.5},
], ids=str)  # fmt: skip
def test_value_and_gradients_equal_the_authors_on_the_same_draws(settings, seed):
    loss = make("ms_das", **settings).double()
    names = [one.name for one in inspect.signature(first_das_step).parameters.values() if one.kind == one.KEYWORD_ONLY]
    known = {key: getattr(loss, key) for key in names}
    batch = random_batch(seed, count=13, classes=5)
    with uniform_numbers(loss) as drawn:
        assert_agrees(loss, lambda _, x, y: first_das_step(x, y, drawn, **known), *batch, rtol=1e-7)


def test_multi_similarity_by_hand():
    # East twice (one turned by 60 degrees), west at cosine -1 and -0.5: at epsilon 2 all count.
    points = torch.tensor([[1.0, 0.0], [0.5, 3**0.5 / 2], [-1.0, 0.0]])
    loss = make("ms_das", 2, 2, alpha=1.0, beta=1.0, base=0.0, epsilon=2.0, produced=0)
    at_half, at_one = math.log1p(math.exp(-0.5)), math.log1p(math.exp(-1.0))
    expected = at_half + (at_one + at_half) / 2  # positive cosine 0.5; one negative each
    assert loss(points, torch.tensor([0, 0, 1])).item() == pytest.approx(expected, rel=1e-6)
    hard = make("ms_das", 2, 2, epsilon=0.1, produced=0)
    assert hard(points, torch.tensor([0, 0, 1])) == 0, "the positive is far nearer than every negative"


def test_counts_and_differences_by_hand():
    loss = make("ms_das", 2, 3, scaled=1, bank=3)
    points, labels = torch.eye(3)[[0, 0, 1]], torch.tensor([1, 1, 1])
    loss.remember(points, labels)
    assert loss.frequencies.tolist() == [[0, 0, 0], [2, 1, 0]]
    # Ordered pairs of different images: four differences, of which the ring of three holds the last.
    step = points[0] - points[2]
    assert torch.equal(loss.differences[1], torch.stack([step, -step, -step])) and loss.pointers.tolist() == [0, 0]
    loss.remember(points[1:], labels[1:])
    assert torch.equal(loss.differences[1], torch.stack([step, -step, -step])) and loss.pointers.tolist() == [0, 2]
    loss.remember(2 * points[1:], labels[1:])  # places 2 and 0
    assert torch.equal(loss.differences[1], torch.stack([-2 * step, -step, 2 * step])) and loss.pointers.tolist() == [
        0,
        1,
    ]


@pytest.mark.parametrize("size", [1, 3, 10])
def test_the_ring_is_the_authors_queue(size):
    loss, ring = make("ms_das", 1, 2, bank=size).double(), Ring(size, 2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        rows = torch.randn(int(torch.randint(0, size + 3, (), generator=generator)), 2, generator=generator).double()
        loss._enqueue(0, rows)
        ring.add(list(rows))
        assert torch.equal(loss.differences[0], torch.stack(ring.rows)) and int(loss.pointers[0]) == ring.at


def test_made_embeddings_stay_near_and_shift_by_known_differences():
    loss, (embeddings, labels) = make("ms_das", scale_low=1.0, scale_high=1.0), random_batch(0)
    units = torch.nn.functional.normalize(embeddings, dim=1)
    assert all(torch.allclose(made, units) for made in loss.produce(units, labels)), "nothing is known yet"
    loss.remember(units, labels)
    for made in loss.produce(units, labels):
        for row, unit, label in zip(made, units, labels):
            moved = unit + 0.01 * loss.differences[label]
            gaps = (row - moved / moved.norm(dim=1, keepdim=True)).abs().sum(1)
            assert gaps.min() < 1e-5 and not torch.equal(row, unit)


def test_detached_copies_still_pull_on_the_images():
    """With one image of each class, its own copies are its positives."""
    embeddings, labels = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(0)), torch.arange(CLASSES)
    value, grad, _ = call(make("ms_das", epsilon=2.0), embeddings, labels)
    assert value > 0 and grad.abs().sum() > 0
