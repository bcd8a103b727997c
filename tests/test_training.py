import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pfml.config import find_cell, grid_cells, load_params
from pfml.data.loader import Half, RunData
from pfml.data.pictures import TensorPictures
from pfml.data.transforms import TRANSFORMS
from pfml.losses import build_loss
from pfml.training import Interrupted, embed, learning_rate, train


def half(classes, per_class, seed):
    """Random textures: each class a pattern of its own, each image that pattern plus noise."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 256, (classes, 3, 16, 16))
    labels = np.repeat(np.arange(classes), per_class)
    images = np.clip(patterns[labels] + rng.normal(0, 40, (len(labels), 3, 16, 16)), 0, 255).astype(np.uint8)
    return Half(TensorPictures(torch.from_numpy(images), TRANSFORMS["shift"], 3), torch.from_numpy(labels))


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
        embeddings = unit(embed(trained.model, data.train.pictures), dim=1).numpy()
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


def test_without_a_number_of_steps_an_epoch_is_one_pass_of_whole_batches(cell, data):
    def bits(trained):
        return [row["loss"] for row in trained.history], trained.model.head.weight.detach().numpy().tobytes()

    passed = train(with_recipe(cell("pfml"), steps_per_epoch=None, epochs=2), data)
    counted = train(with_recipe(cell("pfml"), steps_per_epoch=4, epochs=2), data)  # 96 images, batches of 20
    assert bits(passed) == bits(counted)
    short = train(with_recipe(cell("pfml"), steps_per_epoch=None, epochs=1, batch=200, sampler="random"), data)
    assert len(short.history) == 1  # fewer images than a batch: one step


def test_embed_is_in_evaluation_mode_and_independent_of_the_batch():
    from pfml.models import build_model

    torch.manual_seed(0)
    model, images = build_model("conv4", 8), torch.randint(0, 256, (30, 3, 16, 16), dtype=torch.uint8)
    pictures = TensorPictures(images, TRANSFORMS["shift"], 3)
    assert torch.allclose(embed(model, pictures, 30), embed(model, pictures, 7), atol=1e-5)
