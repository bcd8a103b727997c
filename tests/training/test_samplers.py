"""Batches against the reference algorithm, their composition, and resuming in mid-epoch."""

import itertools

import numpy as np
import pytest
import torch

from pfml.training.batches.samplers import SAMPLERS, epoch_batches

UNEVEN = torch.tensor([7] * 9 + [3] + [0] * 30 + [5] * 2 + [900] * 4)[
    torch.randperm(46, generator=torch.manual_seed(0))
]


def reference(labels, sampler, batch, steps, m, seed, epoch):
    """random and balanced as first written: a scan of all labels for each class."""
    rng = np.random.Generator(np.random.Philox([seed, epoch]))
    if sampler == "random":
        passes = -(-steps * batch // len(labels))
        order = np.concatenate([rng.permutation(len(labels)) for _ in range(passes)])
        return torch.from_numpy(order[: steps * batch]).view(steps, batch)
    members = [np.flatnonzero(labels.numpy() == c) for c in np.unique(labels.numpy())]
    batches = []
    for _ in range(steps):
        classes = rng.choice(len(members), batch // m, replace=False)
        batches.append(np.concatenate([rng.choice(members[c], m, replace=len(members[c]) < m) for c in classes]))
    return torch.from_numpy(np.stack(batches))


@pytest.mark.parametrize("sampler", ["random", "balanced"])
@pytest.mark.parametrize("labels", [torch.arange(120) % 12, UNEVEN], ids=["even", "uneven"])
def test_the_bits_of_the_reference(sampler, labels):
    for seed, epoch in itertools.product((0, 5), (0, 3)):
        drawn = torch.stack(list(epoch_batches(labels, sampler, 12, 9, 3, seed, epoch)))
        assert drawn.dtype == torch.int64 and torch.equal(drawn, reference(labels, sampler, 12, 9, 3, seed, epoch))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("labels", [torch.arange(120) % 12, UNEVEN], ids=["even", "uneven"])
def test_an_epoch_goes_on_from_any_step(sampler, labels):
    whole = list(epoch_batches(labels, sampler, 12, 8, 3, 1, 2))
    assert len(whole) == 8 and all(len(batch) == 12 for batch in whole)
    for start in range(9):
        rest = list(epoch_batches(labels, sampler, 12, 8, 3, 1, 2, start))
        assert len(rest) == 8 - start and all(map(torch.equal, rest, whole[start:]))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_epochs_and_seeds_draw_differently(sampler):
    labels = torch.arange(120) % 12
    drawn = {
        torch.cat(list(epoch_batches(labels, sampler, 20, 3, 4, seed, epoch))).numpy().tobytes()
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(drawn) == 9


def test_m_per_class_sees_every_class_equally_often():
    """12 classes in batches of 5: after 12 batches, which are five passes, each class was seen five times."""
    labels = torch.arange(120) % 12
    batches = list(epoch_batches(labels, "m_per_class", 20, 12, 4, 0, 0))
    for batch in batches:
        counts = torch.bincount(labels[batch], minlength=12)
        assert sorted(counts.tolist()) == [0] * 7 + [4] * 5 and len(batch.unique()) == 20
    seen = torch.bincount(labels[torch.cat(batches)], minlength=12)
    assert seen.tolist() == [5 * 4] * 12
    for done in range(1, 12):  # in between none is more than one pass ahead of another
        seen = torch.bincount(labels[torch.cat(batches[:done])], minlength=12) // 4
        assert seen.max() - seen.min() <= 1


def test_m_per_class_draws_passes_as_its_model_does():
    """Where batches end with passes there is nothing to move: each pass is a permutation of the classes."""
    samplers = pytest.importorskip("pytorch_metric_learning.samplers")
    labels = torch.arange(120) % 12
    model = list(samplers.MPerClassSampler(labels, 4, length_before_new_iter=480))
    ours = torch.cat(list(epoch_batches(labels, "m_per_class", 24, 20, 4, 0, 0))).tolist()
    for drawn in (model, ours):
        classes = labels[torch.tensor(drawn)].view(10, 12, 4)  # passes, classes, images
        assert (classes == classes[:, :, :1]).all()
        assert all(sorted(one.tolist()) == list(range(12)) for one in classes[:, :, 0])


def test_m_per_class_goes_on_where_the_data_has_few_classes():
    labels = torch.arange(30) % 3
    batches = list(epoch_batches(labels, "m_per_class", 20, 3, 4, 0, 0))
    assert [torch.bincount(labels[batch]).sort().values.tolist() for batch in batches] == [[4, 8, 8]] * 3


def test_classes_without_images_and_with_few():
    for sampler in ("balanced", "m_per_class"):
        for batch in epoch_batches(UNEVEN, sampler, 15, 20, 3, 0, 0):
            assert sorted(UNEVEN[batch].unique().tolist()) == [0, 3, 5, 7, 900]
            for label in (0, 7, 900):
                assert len(batch[UNEVEN[batch] == label].unique()) == 3
            assert len(batch[UNEVEN[batch] == 3].unique()) == 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_image_of_a_class_is_as_likely(sampler):
    labels = torch.arange(40) % 4
    seen = torch.bincount(torch.cat(list(epoch_batches(labels, sampler, 8, 1000, 4, 0, 0))), minlength=40)
    assert seen.sum() == 8000 and (seen - 200).abs().max() < 4 * 200**0.5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_as_many_classes_as_online_products_has(sampler):
    """11,318 classes, 60,000 images: a scan for each class would take over a minute; the timeout is the assertion."""
    labels = torch.randint(0, 11318, (60000,), generator=torch.manual_seed(0))
    batches = list(epoch_batches(labels, sampler, 100, 600, 4, 0, 0, start=590))
    assert len(batches) == 10


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"sampler": "hard"}, r"train\.sampler: expected one of random, balanced, m_per_class, found 'hard'"),
        ({"labels": torch.zeros(0, dtype=torch.long)}, "at least one training image, found none"),
        ({"batch": 22}, r"train\.batch: sampler balanced needs a multiple of train\.images_per_class \(4\), found 22"),
        ({"batch": 22, "sampler": "m_per_class"}, "sampler m_per_class needs a multiple"),
        ({"images_per_class": 0}, "multiple"),
        ({"batch": 52}, r"train\.batch: a balanced batch of 52 needs 13 classes .* has 12 classes; lower train\.batch"),
        ({"batch": 0}, "batch from 1"),
        ({"start": 4}, "0 <= start <= steps, found 20, 4 and 3"),
        ({"start": -1}, "found 20, -1 and 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(changes, what):
    given = {"labels": torch.arange(120) % 12, "sampler": "balanced", "batch": 20, "steps": 3, "images_per_class": 4}
    with pytest.raises(ValueError, match=what):
        epoch_batches(**(given | changes), seed=0, epoch=0)
