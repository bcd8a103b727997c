import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pfml.config import find_cell, grid_cells, load_params
from pfml.data.loader import Half, RunData, augment, epoch_batches, normalise
from pfml.losses import build_loss
from pfml.training import Interrupted, embed, learning_rate, train


def half(classes, per_class, seed):
    """Random textures: each class a pattern of its own, each image that pattern plus noise."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 256, (classes, 3, 16, 16))
    labels = np.repeat(np.arange(classes), per_class)
    images = np.clip(patterns[labels] + rng.normal(0, 40, (len(labels), 3, 16, 16)), 0, 255).astype(np.uint8)
    return Half(torch.from_numpy(images), torch.from_numpy(labels))


@pytest.fixture
def data():
    return RunData(half(12, 8, 0), half(6, 8, 1), None, 12)


@pytest.fixture
def cell(tiny, write):
    tiny["train"] |= {"epochs": 4, "batch": 20}

    def _cell(method="pfml", **train):
        tiny["train"] |= train
        return find_cell(grid_cells(load_params(write(tiny))), f"glyphs-{method}-0.0-0")

    return _cell


def with_recipe(cell, **changes):
    return replace(cell, train=dict(cell.train, **changes))


def bits(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", ["pfml", "cpml", "proxy_nca", "contrastive"])
def test_training_learns_and_is_reproducible_to_the_bit(cell, data, method):
    first, second = train(cell(method, epochs=6), data), train(cell(method, epochs=6), data)
    assert same(bits(first.model), bits(second.model)) and same(bits(first.loss), bits(second.loss))
    losses = [row["loss"] for row in first.history]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("method", ["pfml", "proxy_nca"])
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(cell, data, method):
    states, whole = [], train(cell(method), data)

    def save(state):
        states.append({name: bits_of(value) for name, value in state.items()})

    def bits_of(value):
        import copy

        return copy.deepcopy(value)

    calls = iter(range(10**6))
    with pytest.raises(Interrupted):
        train(cell(method), data, save=save, stop=lambda: next(calls) == 7)  # in the third epoch of three steps
    assert len(states) == 2
    resumed = train(cell(method), data, state=states[-1])
    assert same(bits(whole.model), bits(resumed.model)) and same(bits(whole.loss), bits(resumed.loss))
    for a, b in zip(whole.history, resumed.history):
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}


def test_clipping_of_proxies_moves_runs_that_have_proxies_and_no_other(cell, data):
    for method, moved in (("pfml", True), ("contrastive", False)):
        on, off = (train(with_recipe(cell(method), clip_proxies=clip), data) for clip in (True, False))
        assert same(bits(on.model), bits(off.model)) != moved


def test_clipped_proxies_end_near_the_data_that_they_stand_for(cell, data):
    """Unclipped, the large gradients of the first steps slow Adam down and the network leaves the proxies behind."""
    from pfml.wasserstein import proxy_wasserstein

    def distance(clip):
        recipe = {"clip_proxies": clip, "epochs": 15, "sampler": "random", "lr": 3e-3, "proxy_lr": 0.1}
        trained = train(with_recipe(cell("pfml"), **recipe), data)
        unit = torch.nn.functional.normalize
        embeddings = unit(embed(trained.model, data.train.images), dim=1).numpy()
        return proxy_wasserstein(
            unit(trained.loss.proxies.detach(), dim=2).numpy(), embeddings, data.train.labels.numpy()
        )

    assert distance(True) < 0.8 * distance(False)


def test_the_seed_matters(cell, data):
    first = train(cell(), data)
    assert not same(bits(first.model), bits(train(replace(cell(), seed=1), data).model))


def test_held_out_classes_are_measured_and_the_test_half_is_not(cell, data):
    held = replace(data, validation=half(4, 8, 2))
    row = train(cell(hold_out=True), held).history[-1]
    assert "val_recall@1" in row and "recall@1" not in row


def test_eval_every_leaves_epochs_out_but_never_the_last(cell, data):
    history = train(cell(eval_every=3), data).history
    assert [row["epoch"] for row in history if "recall@1" in row] == [3, 4]


def test_a_diverging_run_stops_and_says_where(cell, data, monkeypatch):
    import pfml.training as training

    def poisoned(*args, **kwargs):
        loss = build_loss(*args, **kwargs)
        loss.loss.proxies.data.fill_(float("nan"))
        return loss

    monkeypatch.setattr(training, "build_loss", poisoned)
    with pytest.raises(FloatingPointError, match=r"glyphs-proxy_nca-0\.0-0: the loss became nan in epoch 1, step 1"):
        train(cell("proxy_nca"), data)


def test_learning_rate_rises_then_falls():
    rates = [learning_rate(step, 100, 0.1, "cosine") for step in range(100)]
    assert rates[0] == pytest.approx(1 / 11) and rates[9] == pytest.approx(10 / 11) and max(rates) == rates[10] == 1
    assert all(a >= b for a, b in itertools.pairwise(rates[10:])) and 0 < rates[-1] < 0.001
    assert rates[55] == pytest.approx(0.5 * (1 + math.cos(math.pi * 45 / 90)))
    assert {learning_rate(step, 100, 0.0, "none") for step in range(100)} == {1.0}


def test_the_balanced_sampler_draws_whole_classes():
    labels = torch.arange(120) % 12
    batches = list(epoch_batches(labels, "balanced", 20, 7, 4, 0, 3))
    assert len(batches) == 7
    for batch in batches:
        counts = torch.bincount(labels[batch], minlength=12)
        assert sorted(counts.tolist()) == [0] * 7 + [4] * 5 and len(batch.unique()) == 20


def test_the_random_sampler_passes_over_everything():
    labels = torch.zeros(120, dtype=torch.long)
    seen = torch.cat(list(epoch_batches(labels, "random", 20, 6, 4, 0, 0)))
    assert sorted(seen.tolist()) == list(range(120))
    assert len(torch.cat(list(epoch_batches(labels, "random", 50, 7, 4, 0, 0)))) == 350


def test_epochs_and_seeds_draw_differently():
    labels = torch.arange(120) % 12
    drawn = {
        torch.cat(list(epoch_batches(labels, "balanced", 20, 3, 4, seed, epoch))).numpy().tobytes()
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(drawn) == 9


def test_too_few_classes_for_a_balanced_batch_is_refused():
    with pytest.raises(ValueError, match=r"train\.batch"):
        list(epoch_batches(torch.zeros(50, dtype=torch.long), "balanced", 20, 1, 4, 0, 0))


def test_augment_crops_each_image_by_its_own_shift():
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(64, 3, 8, 8)
    crops = augment(ramp, 2, torch.Generator().manual_seed(0))
    assert crops.shape == ramp.shape
    shifts = crops[:, 0, 0, 4] - 4  # the ramp shows by how much each image moved sideways
    assert set(shifts.tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    assert torch.equal(augment(ramp, 0, torch.Generator()), ramp)
    assert crops.min() == 0 and crops.max() == 7, "the border repeats, nothing is filled in"


def test_normalise_is_centred():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    assert normalise(pixels).flatten().tolist() == [-2.0, 2.0]


def test_embed_is_in_evaluation_mode_and_independent_of_the_batch():
    from pfml.models import build_model

    torch.manual_seed(0)
    model, images = build_model("conv4", 8), torch.randint(0, 256, (30, 3, 16, 16), dtype=torch.uint8)
    assert torch.allclose(embed(model, images, 30), embed(model, images, 7), atol=1e-5)
