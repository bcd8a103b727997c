import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfml.labels.noise import corrupt_labels, noise_manifest


@given(st.integers(2, 30), st.integers(0, 400), st.floats(0, 0.999), st.integers(0, 2**31))
def test_exactly_the_asked_share_moves_and_always_to_another_class(classes, n, fraction, seed):
    labels = np.arange(n) % classes
    noisy, mask = corrupt_labels(labels, fraction, seed, classes)
    assert mask.sum() == round(fraction * n)
    assert (noisy[mask] != labels[mask]).all() and (noisy[~mask] == labels[~mask]).all()
    assert n == 0 or (noisy.min() >= 0 and noisy.max() < classes)


def test_the_draw_is_frozen():
    """The same seed gives the same labels for ever: published manifests stay reproducible."""
    noisy, mask = corrupt_labels(np.arange(10) % 5, 0.4, 7, 5)
    assert mask.nonzero()[0].tolist() == [1, 4, 6, 8]
    assert noisy.tolist() == [0, 3, 2, 3, 1, 0, 2, 2, 4, 4]
    other, _ = corrupt_labels(np.arange(10) % 5, 0.4, 8, 5)
    assert other.tolist() != noisy.tolist()


def test_targets_are_uniform_over_the_other_classes():
    labels = np.zeros(100_000, dtype=int)
    noisy, mask = corrupt_labels(labels, 0.5, 0, 11)
    counts = np.bincount(noisy[mask], minlength=11)
    assert counts[0] == 0
    assert abs(counts[1:] - 5000).max() < 5 * np.sqrt(5000 * 0.9)  # five standard deviations


@pytest.mark.parametrize(
    "labels, fraction, classes, what",
    [
        ([0, 1], 1.0, 2, "fraction"),
        ([0, 1], -0.1, 2, "fraction"),
        ([0, 2], 0.5, 2, "labels"),
        ([-1, 1], 0.5, 2, "labels"),
        ([0.0, 1.0], 0.5, 2, "labels"),
        ([[0], [1]], 0.5, 2, "labels"),
        ([0, 0], 0.5, 1, "num_classes"),
    ],
)
def test_bad_input_is_refused(labels, fraction, classes, what):
    with pytest.raises(ValueError, match=what):
        corrupt_labels(np.array(labels), fraction, 0, classes)


def test_the_manifest_touches_training_labels_only():
    split = pd.DataFrame(
        {"item": range(80), "class_id": np.repeat([3, 5, 8, 9], 20), "split": ["train"] * 40 + ["test"] * 40,
         "validation": False}
    )  # fmt: skip
    table = noise_manifest(split, 0.25, 1)
    assert table["corrupted"].sum() == 10
    test = table[table["split"] == "test"]
    assert (test["true_label"] == test["noisy_label"]).all() and set(test["true_label"]) == {0, 1}
    train = table[table["split"] == "train"]
    assert ((train["true_label"] != train["noisy_label"]) == train["corrupted"]).all()
