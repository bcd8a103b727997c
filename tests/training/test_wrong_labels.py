"""Looks at wrong labels while a run trains: when, of which network, and without a trace in the training."""

from dataclasses import replace

import pytest

from pfml.retrieval.memorisation import label_fit
from pfml.training.loop import train
from pfml.training.measure import embed
from tests.training.scenes import bits, same, with_wrong_labels


@pytest.mark.parametrize("changes", [{}, {"ema": 0.8}])
def test_wrong_labels_are_looked_at_while_training_goes_on(run, data, changes):
    """Every second epoch and at the end; the training is the same to the bit, and the last look is that of the end, of
    the averaged weights where they are averaged.
    """
    noisy = with_wrong_labels(data)
    given, true = noisy.train.labels, noisy.true_labels
    plain, watched = (train(run(epochs=5, **changes), noisy, label_fit_every=every) for every in (0, 2))
    assert same(bits(plain.model), bits(watched.model)) and same(bits(plain.loss), bits(watched.loss))
    assert [row["epoch"] for row in watched.history if "fitted" in row] == [2, 4, 5]
    assert not any("fitted" in row for row in plain.history)
    embeddings = embed(watched.model, data.train.pictures).numpy()
    last = watched.history[-1]
    assert (last["fitted"], last["resisted"]) == label_fit(embeddings, given.numpy(), true.numpy())
    assert 0 < last["fitted"] + last["resisted"] <= 1


def test_a_look_at_embeddings_that_are_not_finite_stops_the_run(run, data, monkeypatch):
    """Also in an epoch that measures nothing else."""
    import pfml.training.measure as training

    real = training.embed
    monkeypatch.setattr(training, "embed", lambda *args: real(*args) * float("nan"))
    with pytest.raises(FloatingPointError, match="embeddings became NaN or infinite"):
        train(run("contrastive", epochs=4, eval_every=4), with_wrong_labels(data), label_fit_every=1)


def test_right_labels_are_not_looked_at(run, data):
    for known in (data, replace(data, true_labels=data.train.labels)):
        assert not any("fitted" in row for row in train(run(epochs=1), known, label_fit_every=1).history)
