"""Kinds of noise, confusable classes and the report. Lists of others: test_noise_list.py."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfml.labels.confusable import keep_classes, nearest_classes, read_confusable, write_confusable
from pfml.labels.noise import corrupt_labels, noise_manifest
from pfml.labels.noise_kinds import corrupt, kind_manifest, pairflip, semantic
from pfml.labels.report import noise_report, transitions
from tests.conftest import REAL, needs_real

RING = [[1], [2], [3], [4], [0]]  # as confusable: what pairflip does with five classes


@given(st.integers(2, 30), st.integers(0, 300), st.floats(0, 0.999), st.integers(0, 2**31), st.data())
def test_every_drawn_kind_moves_the_same_exact_share(classes, n, fraction, seed, data):
    labels = np.arange(n) % classes
    size = data.draw(st.integers(1, classes - 1))
    confusable = [(c + 1 + np.arange(size)) % classes for c in range(classes)]
    _, uniform = corrupt_labels(labels, fraction, seed, classes)
    for noisy, mask in (
        pairflip(labels, fraction, seed, classes),
        semantic(labels, fraction, seed, classes, confusable),
    ):
        assert mask.sum() == round(fraction * n) and (mask == uniform).all()
        assert (noisy[~mask] == labels[~mask]).all() and noisy.dtype == np.int64
        assert all(noisy[i] in confusable[labels[i]] for i in np.flatnonzero(mask))


def test_pairflip_goes_to_the_next_class_and_from_the_last_to_the_first():
    labels = np.arange(10) % 5
    noisy, mask = pairflip(labels, 0.4, 7, 5)
    assert mask.nonzero()[0].tolist() == [1, 4, 6, 8]  # as the frozen draw of the uniform kind
    assert noisy.tolist() == [0, 2, 2, 3, 0, 0, 2, 2, 4, 4]
    assert labels.tolist() == [0, 1, 2, 3, 4] * 2  # the caller's vector stays


def test_the_semantic_draw_is_frozen():
    """The uniform draw shifts samples 1, 4, 6, 8 by 2, 2, 1, 1 (test_noise.py): a remainder of 1, 1, 0, 0 by 4 or 2."""
    noisy, mask = semantic(np.arange(10) % 5, 0.4, 7, 5, [[3, 1], [0, 4], [1, 3], [2, 4], [3, 0]])
    assert mask.nonzero()[0].tolist() == [1, 4, 6, 8]
    assert noisy.tolist() == [0, 4, 2, 3, 0, 0, 0, 2, 2, 4]


def test_semantic_targets_are_uniform_over_the_confusable_classes_only():
    noisy, mask = semantic(np.zeros(60_000, dtype=int), 0.5, 0, 11, [[2, 5, 9]] + [[0]] * 10)
    counts = np.bincount(noisy[mask], minlength=11)
    assert set(np.flatnonzero(counts)) == {2, 5, 9} and counts.sum() == 30_000
    assert abs(counts[[2, 5, 9]] - 10_000).max() < 5 * np.sqrt(30_000 * 2 / 9)  # five standard deviations


def test_samples_of_a_class_that_is_confused_with_none_stay():
    labels = np.repeat([0, 1, 2], 10)
    noisy, mask = semantic(labels, 0.5, 3, 3, [[1], [0], []])
    assert mask.sum() == 15 and not mask[20:].any()
    assert (noisy[mask] == 1 - labels[mask]).all()
    semantic(labels, 20 / 30, 3, 3, [[1], [0], []])
    with pytest.raises(ValueError, match="confusable: 21 samples are to move, but only 20"):
        semantic(labels, 0.7, 3, 3, [[1], [0], []])


@pytest.mark.parametrize(
    "confusable, what",
    [
        ([[1], [0]], "expected one list for each of 3 classes, found 2"),
        ([[1], [0], [3]], r"class 2: expected classes 0 to 2, found \[3\]"),
        ([[1], [0], [-1]], "class 2: expected classes 0 to 2"),
        ([[1], [0], [0.5]], "class 2: expected classes 0 to 2"),
        ([[1], [1], [0]], "class 1: expected other classes, each once"),
        ([[1, 1], [0], [0]], "class 0: expected other classes, each once"),
    ],
)
def test_wrong_lists_of_confusable_classes_are_refused(confusable, what):
    with pytest.raises(ValueError, match=f"confusable: {what}"):
        semantic(np.array([0, 1, 2]), 0.5, 0, 3, confusable)


@pytest.mark.parametrize("kind", ["uniform", "pairflip", "semantic"])
@pytest.mark.parametrize(
    "labels, fraction, what", [([0, 1], 1.0, "fraction"), ([0, 5], 0.5, "labels"), ([0.0, 1.0], 0.5, "labels")]
)
def test_every_kind_refuses_bad_input_by_name(kind, labels, fraction, what):
    more = {"confusable": RING} if kind == "semantic" else {}
    with pytest.raises(ValueError, match=f"^{what}: expected"):
        corrupt(kind, np.array(labels), 5, fraction=fraction, seed=0, **more)


def test_the_dispatcher_calls_the_kind():
    labels = np.arange(40) % 5
    same = lambda a, b: all((x == y).all() for x, y in zip(a, b))  # noqa: E731
    draw = {"fraction": 0.3, "seed": 2}
    assert same(corrupt("uniform", labels, 5, **draw), corrupt_labels(labels, 0.3, 2, 5))
    assert same(corrupt("pairflip", labels, 5, **draw), pairflip(labels, 0.3, 2, 5))
    assert same(corrupt("semantic", labels, 5, confusable=RING, **draw), pairflip(labels, 0.3, 2, 5))
    listed = np.where(np.arange(40) < 3, 4, labels)
    assert same(corrupt("list", labels, 5, noisy=listed), (listed, [True] * 3 + [False] * 37))


@pytest.mark.parametrize(
    "kind, settings, what",
    [
        ("symmetric", {}, "kind: expected one of uniform, pairflip, semantic, list, found 'symmetric'"),
        ("uniform", {"fraction": 0.1}, "uniform expects fraction, seed, found fraction"),
        ("uniform", {"fraction": 0.1, "seed": 0, "confusable": RING}, "found confusable, fraction, seed"),
        ("semantic", {"fraction": 0.1, "seed": 0}, "semantic expects fraction, seed, confusable"),
        ("list", {}, "list expects noisy, found nothing"),
        ("list", {"noisy": [0, 1, 5]}, "noisy: expected 0 to 4, found 0 to 5"),
        ("list", {"noisy": [0, 1]}, "noisy: expected one integer for each of 3 samples"),
    ],
)
def test_a_kind_without_what_it_needs_is_refused(kind, settings, what):
    with pytest.raises(ValueError, match=what):
        corrupt(kind, np.array([0, 1, 2]), 5, **settings)


def test_the_uniform_manifest_is_the_one_of_the_committed_results():
    split = pd.DataFrame(
        {"item": range(80), "class_id": np.repeat([3, 5, 8, 9], 20), "split": ["train"] * 40 + ["test"] * 40,
         "validation": False}
    ).sample(frac=1, random_state=0)  # fmt: skip
    table = kind_manifest(split, "uniform", fraction=0.25, seed=1)
    assert table.to_csv() == noise_manifest(split, 0.25, 1).to_csv()
    flipped = kind_manifest(split, "pairflip", fraction=0.25, seed=1)
    assert flipped["corrupted"].tolist() == table["corrupted"].tolist()
    moved = flipped[flipped["corrupted"]]
    assert len(moved) == 10 and (moved["noisy_label"] == 1 - moved["true_label"]).all()


# Six classes on a circle: 0, 1, 2 within ten degrees of each other, 3, 4 likewise opposite, 5 alone at a right angle.
ANGLES = np.radians([0, 4, 10, 180, 185, 95])
CENTRES = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def around(centres, rng, n=20):
    """n samples a class within one degree, of lengths 0.1 to 10: only directions may count."""
    labels = np.repeat(np.arange(len(centres)), n)
    points = centres[labels] + rng.uniform(-0.01, 0.01, (len(labels), centres.shape[1]))
    return points * 10 ** rng.uniform(-1, 1, (len(labels), 1)), labels


def test_neighbours_are_the_near_classes_nearest_first():
    embeddings, labels = around(CENTRES, np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(len(labels))
    near = nearest_classes(embeddings[order], labels[order], 6, 2)
    assert [row.tolist() for row in near] == [[1, 2], [0, 2], [1, 0], [4, 5], [3, 5], [2, 3]]
    assert [len(row) for row in nearest_classes(embeddings, labels, 6, 5)] == [5] * 6


def test_only_directions_count_of_samples_and_of_means():
    """A long outlier does not turn class 0 from 1 to 2; a scattered class 2 in its very direction is nearer than 1."""
    right, up, slanted = [1, 0], [0, 1], [np.cos(0.5), np.sin(0.5)]
    spread = [
        [np.cos(1.2), np.sin(1.2)],
        [np.cos(1.2), -np.sin(1.2)],
    ]  # mean of length 0.36 in the direction of `right`
    outlier = np.array([right] * 9 + [[0, 100]] + [right] * 2 + [up] * 2)
    assert nearest_classes(outlier, np.repeat([0, 1, 2], [10, 2, 2]), 3, 1)[0].tolist() == [1]
    scattered = np.array([right] * 2 + [slanted] * 2 + spread)
    assert nearest_classes(scattered, np.repeat([0, 1, 2], 2), 3, 1)[0].tolist() == [2]


def test_semantic_noise_stays_among_neighbours_and_uniform_noise_does_not():
    embeddings, labels = around(CENTRES, np.random.default_rng(0), n=100)
    near = nearest_classes(embeddings, labels, 6, 1)
    distance = lambda noisy, mask: np.linalg.norm(CENTRES[noisy[mask]] - CENTRES[labels[mask]], axis=1).mean()  # noqa: E731
    close, far = distance(*semantic(labels, 0.5, 0, 6, near)), distance(*corrupt_labels(labels, 0.5, 0, 6))
    assert close < 0.5 < 1 < far


def test_more_classes_than_a_block_holds():
    angles = np.linspace(0, np.pi, 1500)
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    near = np.array(nearest_classes(embeddings, np.arange(1500), 1500, 2))
    assert (np.sort(near[1:-1]) == np.arange(1, 1499)[:, None] + [-1, 1]).all()


@pytest.mark.parametrize(
    "embeddings, labels, k, what",
    [
        (np.ones((3, 2)), [0, 1], 1, r"embeddings: expected \(2, D\)"),
        (np.ones(2), [0, 1], 1, r"embeddings: expected \(2, D\)"),
        (np.ones((2, 2)), [0, 1], 3, "k: expected 1 to 2, found 3"),
        (np.ones((2, 2)), [0, 1], 0, "k: expected 1 to 2, found 0"),
        (np.ones((2, 2)), [0, 1], 1, r"labels: expected samples of every class, found none of 1: \[2\]"),
        (np.array([[1, 0], [0, 0], [0, 1]]), [0, 1, 2], 1, "embeddings: expected finite vectors other than zero"),
        (np.array([[1, 0], [np.nan, 0], [0, 1]]), [0, 1, 2], 1, "embeddings: expected finite"),
        (np.array([[1, 0], [-1, 0], [0, 1], [0, 1]]), [1, 1, 0, 2], 1, "embeddings: those of class 1 cancel"),
    ],
)
def test_embeddings_without_neighbourhoods_are_refused(embeddings, labels, k, what):
    with pytest.raises(ValueError, match=what):
        nearest_classes(embeddings, np.array(labels), 3, k)


def test_a_list_of_your_own_is_read_by_official_numbers(tmp_path):
    file = tmp_path / "confusable.csv"
    file.write_text("class_id,confusable_id\n12,10\n10,12\n10,11\n")
    rows = read_confusable(file, [10, 11, 12])
    assert [row.tolist() for row in rows] == [[2, 1], [], [0]]
    write_confusable(file, rows, [10, 11, 12])
    assert file.read_text() == "class_id,confusable_id\n10,12\n10,11\n12,10\n"


@pytest.mark.parametrize(
    "text, what",
    [
        ("from,to\n10,11\n", "expected the columns class_id,confusable_id, found from,to"),
        ("class_id,confusable_id\n10,11\n10,13\n", "line 3: expected class_ids of training classes, found 13"),
        ("class_id,confusable_id\n10,\n", "line 2: expected two numbers, found '10,'"),
        ("class_id,confusable_id\nAlbatross,10\n", "line 2: expected two numbers, found 'Albatross,10'"),
        ("class_id,confusable_id\n10,11,12,13\n", "line 2: expected two numbers, found '10,11,12,13'"),
        ("", "expected the columns class_id,confusable_id, found nothing"),
        ("class_id,confusable_id\n11,11\n", "class 1: expected other classes, each once"),
        ("class_id,confusable_id\n10,11\n10,11\n", "class 0: expected other classes, each once"),
    ],
)
def test_a_wrong_list_of_your_own_is_refused(tmp_path, text, what):
    file = tmp_path / "confusable.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=what):
        read_confusable(file, [10, 11])


def test_held_out_classes_leave_the_list():
    kept = keep_classes([[1, 2], [0], [3, 0], [2]], kept=[0, 2, 3])
    assert [row.tolist() for row in kept] == [[1], [2, 0], [1]]


def test_the_report_by_hand():
    """Class 0: one of three leaves, one comes. Class 1: both leave. Class 2: always empty. Class 3: two come."""
    report = noise_report([0, 0, 0, 1, 1, 3], [0, 0, 3, 0, 3, 3], 4)
    assert report.columns.tolist() == ["label", "n", "moved_out", "moved_in", "labelled", "purity", "emptied"]
    assert report["n"].tolist() == [3, 2, 0, 1]
    assert report["moved_out"].tolist() == [1, 2, 0, 0] and report["moved_in"].tolist() == [1, 0, 0, 2]
    assert report["labelled"].tolist() == [3, 0, 0, 3]
    np.testing.assert_allclose(report["purity"], [2 / 3, np.nan, np.nan, 1 / 3])
    assert report["emptied"].tolist() == [False, True, False, False]


def test_the_transitions_by_hand():
    table = transitions([0, 0, 0, 1, 1, 3], [0, 0, 3, 0, 3, 3], 4)
    assert list(table[["true_label", "noisy_label", "n"]].itertuples(index=False, name=None)) == [
        (0, 0, 2), (0, 3, 1), (1, 0, 1), (1, 3, 1), (3, 3, 1)
    ]  # fmt: skip
    np.testing.assert_allclose(table["share"], [2 / 3, 1 / 3, 1 / 2, 1 / 2, 1])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60))
def test_the_report_counts_every_sample_once(pairs):
    true, noisy = [a for a, _ in pairs], [b for _, b in pairs]
    report, table = noise_report(true, noisy, 7), transitions(true, noisy, 7)
    moved = sum(a != b for a, b in pairs)
    assert report["n"].sum() == report["labelled"].sum() == table["n"].sum() == len(pairs)
    assert report["moved_out"].sum() == report["moved_in"].sum() == moved
    assert (report["labelled"] == report["n"] - report["moved_out"] + report["moved_in"]).all()
    assert table.loc[table["true_label"] != table["noisy_label"], "n"].sum() == moved


@pytest.mark.parametrize(
    "true, noisy, what",
    [
        ([0, 1], [0], "noisy_labels: expected as many"),
        ([0, 1], [0, 2], "noisy_labels: expected 0 to 1"),
        ([-1, 1], [0, 1], "true_labels: expected 0 to 1"),
        ([0.0, 1.0], [0, 1], "true_labels: expected a vector of integers"),
    ],
)
def test_the_report_refuses_what_it_cannot_count(true, noisy, what):
    with pytest.raises(ValueError, match=what):
        noise_report(true, noisy, 2)


@needs_real
def test_neighbours_of_real_characters_are_more_alike_than_others():
    """Omniglot by raw pixels: the neighbour that half of the drawers give a character is near by the other half too."""
    file = np.load(Path(REAL, "data/omniglot/omniglot_105.npz"))
    keep = file["label"] < 200
    labels = file["label"][keep].astype(int)
    pixels = 1.0 - np.unpackbits(file["images"][keep], axis=1)[:, : 105 * 105].reshape(-1, 105, 105)
    ink = pixels.reshape(len(pixels), 15, 7, 15, 7).mean(axis=(2, 4)).reshape(len(pixels), -1)
    first = file["drawer"][keep] < np.median(file["drawer"][keep])
    one, other = (np.array(nearest_classes(ink[half], labels[half], 200, 5)) for half in (first, ~first))
    shared = np.mean([len(set(a) & set(b)) for a, b in zip(one, other)])
    assert shared > 10 * 5 * 5 / 199  # by chance five of 199 share 25 / 199
    noisy, mask = semantic(labels, 0.2, 0, 200, one)
    assert mask.sum() == round(0.2 * len(labels))
    assert noise_report(labels, noisy, 200)["moved_in"].sum() == mask.sum()
