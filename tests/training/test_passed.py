"""What is kept of the batches as they passed in training, for the paper's W2 "averaged over a complete epoch"."""

import pytest
import torch

from pfml.losses import build_loss
from pfml.training.loop import train
from tests.training.scenes import with_recipe


@pytest.fixture
def met(monkeypatch):
    """(embeddings, labels) of every call of the loss, in order."""
    import pfml.training.loop as training

    calls = []

    def recording(*arguments, **settings):
        loss = build_loss(*arguments, **settings)
        loss.register_forward_pre_hook(lambda _, inputs: calls.append([rows.detach().clone() for rows in inputs]))
        return loss

    monkeypatch.setattr(training, "build_loss", recording)
    return calls


@pytest.mark.parametrize("changes, kept", [({}, 4), ({"ema": 0.8}, 4), ({"select": "best_test"}, 2)])
def test_the_kept_batches_are_those_that_the_loss_met_in_the_kept_epoch(run, data, met, monkeypatch, changes, kept):
    recalls = iter([0.3, 0.5, 0.5, 0.4])  # so that the second is the best on every machine
    monkeypatch.setattr("pfml.training.loop.measure", lambda *_: {"recall@1": next(recalls), "map@r": 0.0})
    trained = train(with_recipe(run("pfml"), steps_per_epoch=3, eval_every=1, **changes), data)
    epochs = [tuple(map(torch.cat, zip(*met[i : i + 3]))) for i in range(0, len(met), 3)]
    assert len(epochs) == 4 and trained.epoch == kept and trained.passed.shape == (3 * 20, 64)
    assert [torch.equal(trained.passed, embeddings) for embeddings, _ in epochs] == [i == kept for i in range(1, 5)]
    assert torch.equal(trained.passed_labels, epochs[kept - 1][1])
