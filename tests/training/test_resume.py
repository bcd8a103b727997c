"""A run that goes on from a checkpoint ends as one that never stopped, to the bit."""

import copy

import pytest
import torch

from pfml.training.loop import Interrupted, train
from pfml.training.networks.model import build_model
from tests.training.scenes import bits, same, with_recipe, with_wrong_labels

EVERYTHING = {
    "ema": 0.8, "frozen_epochs": 1, "freeze_bn": "statistics", "schedule": "step", "step_epochs": 2, "clip_value": 0.1,
    "optimizer": "rmsprop", "select": "best_test", "sampler": "m_per_class",
}  # fmt: skip


@pytest.mark.parametrize("method, changes", [("pfml", {}), ("proxy_nca", {}), ("pfml", EVERYTHING)])
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(run, data, method, changes):
    data = with_wrong_labels(data)
    states, whole = [], train(with_recipe(run(method), **changes), data, label_fit_every=2)
    calls = iter(range(10**6))
    with pytest.raises(Interrupted):  # in the third epoch of three steps
        train(
            with_recipe(run(method), **changes), data, label_fit_every=2,
            save=lambda state: states.append(copy.deepcopy(state)), stop=lambda: next(calls) == 7,
        )  # fmt: skip
    assert len(states) == 2
    resumed = train(with_recipe(run(method), **changes), data, state=states[-1], label_fit_every=2)
    assert same(bits(whole.model), bits(resumed.model)) and same(bits(whole.loss), bits(resumed.loss))
    assert whole.epoch == resumed.epoch and torch.equal(whole.passed, resumed.passed)
    for a, b in zip(whole.history, resumed.history):
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}


@pytest.mark.parametrize("changes", [{}, EVERYTHING | {"sampler": "balanced"}])
def test_a_run_resumed_inside_an_epoch_equals_the_uninterrupted_one_to_the_bit(run, data, changes):
    changes = changes | {"steps_per_epoch": 5, "checkpoint_steps": 2}
    states, whole = [], train(with_recipe(run("pfml"), **changes), data)
    calls = iter(range(10**6))
    with pytest.raises(Interrupted):
        train(
            with_recipe(run("pfml"), **changes), data,
            save=lambda state: states.append(copy.deepcopy(state)), stop=lambda: next(calls) == 9,
        )  # fmt: skip
    assert [state["unfinished"][0] for state in states] == [2, 4, 0, 2, 4]
    for state in states[-2:]:
        resumed = train(with_recipe(run("pfml"), **changes), data, state=state)
        assert same(bits(whole.model), bits(resumed.model)) and same(bits(whole.loss), bits(resumed.loss))
        assert [row["loss"] for row in whole.history] == [row["loss"] for row in resumed.history]
        assert torch.equal(whole.passed, resumed.passed) and torch.equal(whole.passed_labels, resumed.passed_labels)


def test_a_run_stopped_after_its_last_step_still_has_what_passed(run, data):
    states, whole = [], train(run("pfml"), data)
    train(run("pfml"), data, save=lambda state: states.append(copy.deepcopy(state)))
    assert torch.equal(whole.passed, train(run("pfml"), data, state=states[-1]).passed)


def test_what_draws_from_the_global_generators_goes_on_from_the_checkpoint(run, data, monkeypatch):
    from pfml.training.networks import trunk

    def dropping(**settings):
        model = build_model(**settings)
        model.head = torch.nn.Sequential(torch.nn.Dropout(0.5), model.head)
        return model

    monkeypatch.setattr(trunk, "build_model", dropping)
    states, whole = [], train(run("pfml"), data)
    train(run("pfml"), data, save=lambda state: states.append(copy.deepcopy(state)))
    torch.manual_seed(99)
    resumed = train(run("pfml"), data, state=states[1])
    assert same(bits(whole.model), bits(resumed.model))
