from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch

from pfml.wasserstein import class_wasserstein, measured_classes, proxy_wasserstein, spread


def brute_force(proxies, embeddings):
    """Minimum over all injections of proxies into embeddings."""
    return min(
        np.sqrt(np.mean([((p - embeddings[j]) ** 2).sum() for p, j in zip(proxies, places)]))
        for places in permutations(range(len(embeddings)), len(proxies))
    )


def test_by_hand():
    # Proxies at 0 and 1, data at 0, 0.1 and 3: nearest neighbours would be 0 and 0.1 for both; the matching is
    # 0 -> 0 and 1 -> 0.1, mean squared distance (0 + 0.81) / 2.
    proxies, data = np.array([[0.0], [1.0]]), np.array([[0.0], [0.1], [3.0]])
    assert class_wasserstein(proxies, data) == pytest.approx(np.sqrt(0.81 / 2))


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_search_over_all_injections(seed):
    rng = np.random.default_rng(seed)
    proxies, embeddings = rng.normal(size=(3, 4)), rng.normal(size=(6, 4))
    assert class_wasserstein(proxies, embeddings) == pytest.approx(brute_force(proxies, embeddings))


def test_one_proxy_gives_the_nearest_embedding_and_classes_are_averaged():
    rng = np.random.default_rng(0)
    proxies, embeddings = rng.normal(size=(4, 1, 5)), rng.normal(size=(40, 5))
    labels = np.arange(40) % 4
    nearest = [np.linalg.norm(embeddings[labels == c] - proxies[c, 0], axis=1).min() for c in range(4)]
    assert proxy_wasserstein(proxies, embeddings, labels) == pytest.approx(np.mean(nearest))


def test_only_the_own_class_counts_and_absent_classes_are_left_out():
    proxies = np.array([[[0.0]], [[10.0]], [[5.0]]])
    embeddings, labels = np.array([[1.0], [10.0], [0.0]]), np.array([0, 1, 1])
    assert proxy_wasserstein(proxies, embeddings, labels) == pytest.approx(0.5)


def test_the_readings_of_the_measure_by_hand():
    # Proxies at 0 and 1, data at 0, 0.1 and 3, as above; then two classes whose data lie crosswise.
    proxies, data = np.array([[0.0], [1.0]]), np.array([[0.0], [0.1], [3.0]])
    assert class_wasserstein(proxies, data, mean=False) == pytest.approx(0.9)
    assert class_wasserstein(proxies, data, injective=False) == pytest.approx(np.sqrt(0.81 / 2))
    both = np.array([[[0.0], [0.02]]])
    labels = np.zeros(3, dtype=int)
    assert proxy_wasserstein(both, data, labels, assignment="nearest") == pytest.approx(np.sqrt(0.0004 / 2))
    assert proxy_wasserstein(both, data, labels) == pytest.approx(np.sqrt(0.0064 / 2))
    one = np.array([[[0.0]], [[1.0]]])
    embeddings, labels = np.array([[0.9], [0.2]]), np.array([0, 1])
    assert proxy_wasserstein(one, embeddings, labels) == pytest.approx((0.9 + 0.8) / 2)
    assert proxy_wasserstein(one, embeddings, labels, assignment="all") == pytest.approx((0.2 + 0.1) / 2)
    assert proxy_wasserstein(both[:, :1], data, np.zeros(3, dtype=int), assignment="all") == 0


@pytest.mark.parametrize("seed", range(3))
def test_over_all_classes_is_the_best_pairing_of_all(seed):
    rng = np.random.default_rng(seed)
    proxies, embeddings = rng.normal(size=(2, 2, 3)), rng.normal(size=(5, 3))
    cost = ((proxies.reshape(4, 1, 3) - embeddings) ** 2).sum(2)
    places = min(permutations(range(5), 4), key=lambda found: cost[range(4), found].sum())
    expected = np.sqrt(cost[range(4), places].reshape(2, 2).mean(1)).mean()
    found = proxy_wasserstein(proxies, embeddings, np.arange(5) % 2, assignment="all")
    assert found == pytest.approx(expected)


def test_what_cannot_be_assigned_is_refused():
    proxies, embeddings, labels = np.zeros((2, 2, 1)), np.zeros((3, 1)), np.array([0, 0, 1])
    with pytest.raises(ValueError, match="assignment: all 4 proxies need as many embeddings, found 3"):
        proxy_wasserstein(proxies, embeddings, labels, assignment="all")
    with pytest.raises(ValueError, match="assignment: expected one of class, nearest, all, found 'any'"):
        proxy_wasserstein(proxies, embeddings, labels, assignment="any")


def test_the_classes_of_the_mean_are_those_with_enough_embeddings():
    labels = np.array([0, 0, 0, 1, 3, 3])
    assert measured_classes(labels, 2).tolist() == [0, 3] and measured_classes(labels, 3).tolist() == [0]
    assert measured_classes(labels, 3, "nearest").tolist() == measured_classes(labels, 1).tolist() == [0, 1, 3]


def test_tensors_that_require_gradients_are_welcome():
    torch.manual_seed(0)
    proxies, embeddings = torch.randn(2, 2, 3, requires_grad=True), torch.randn(8, 3, requires_grad=True)
    labels = torch.arange(8) % 2
    arrays = (proxies.detach().numpy(), embeddings.detach().numpy(), labels.numpy())
    assert proxy_wasserstein(proxies, embeddings, labels) == proxy_wasserstein(*arrays)


def test_a_class_with_too_few_embeddings_is_left_out_with_a_warning():
    proxies = np.array([[[0.0], [1.0]], [[10.0], [11.0]]])
    embeddings, labels = np.array([[0.0], [1.5], [10.0]]), np.array([0, 0, 1])
    with pytest.warns(UserWarning, match="1 classes with fewer than 2"):
        assert proxy_wasserstein(proxies, embeddings, labels) == pytest.approx(np.sqrt(0.25 / 2))


def test_spread_by_hand():
    assert spread(np.array([[0.0], [2.0], [5.0], [5.0]]), np.array([0, 0, 1, 1])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "proxies, embeddings, labels, what",
    [((3, 2), (4, 2), [0, 0, 1, 1], "proxies"), ((2, 0, 2), (4, 2), [0, 0, 1, 1], "proxies"),
     ((2, 1, 2), (4, 3), [0, 0, 1, 1], "embeddings"), ((2, 1, 2), (4, 2), [0, 0, 1], "labels"),
     ((2, 1, 2), (4, 2), [0, 0, 1, 2], "labels"), ((2, 3, 2), (4, 2), [0, 0, 1, 1], "no class has as many")],
)  # fmt: skip
def test_bad_input_is_refused(proxies, embeddings, labels, what):
    with pytest.raises(ValueError, match=what):
        proxy_wasserstein(np.zeros(proxies), np.zeros(embeddings), np.array(labels))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_counts_as_the_same_numbers(dtype):
    torch.manual_seed(0)
    proxies, embeddings, labels = torch.randn(2, 2, 3).to(dtype), torch.randn(8, 3).to(dtype), torch.arange(8) % 2
    for assignment in ("class", "nearest", "all"):
        expected = proxy_wasserstein(proxies.float(), embeddings.float(), labels, assignment=assignment)
        with torch.autocast("cpu", dtype):
            assert proxy_wasserstein(proxies, embeddings, labels, assignment=assignment) == expected
        if dtype == torch.float16:
            assert proxy_wasserstein(proxies.numpy(), embeddings.numpy(), labels, assignment=assignment) == expected
    assert class_wasserstein(proxies[0], embeddings) == class_wasserstein(proxies[0].float(), embeddings.float())
    assert spread(embeddings, labels) == spread(embeddings.float(), labels)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64"])
def test_labels_of_every_integer_type(kind):
    proxies, embeddings, labels = np.arange(12.0).reshape(2, 2, 3), np.eye(6)[:, :3], np.arange(6) % 2
    expected = proxy_wasserstein(proxies, embeddings, labels)
    for given in (labels.astype(kind), torch.from_numpy(labels.astype(kind)), labels.tolist()):
        assert proxy_wasserstein(proxies, embeddings, given) == expected
        assert measured_classes(given, 3).tolist() == [0, 1]


@pytest.mark.parametrize(
    "change, what",
    [
        ({"labels": np.array(["a", "b", "a", "b"])}, "labels: expected 4 integers, found <U1"),
        ({"labels": np.array([0.0, 1.0, 0.0, np.nan])}, "labels: expected 4 integers, found float64"),
        ({"labels": [*torch.arange(4)]}, "labels: expected one tensor or array, found a list of tensors"),
        ({"labels": pd.Series([0, 1, 0, 1])}, "labels: expected a tensor or an array, found a Series"),
        ({"embeddings": np.full((4, 2), np.nan)}, "embeddings: expected finite values, found NaN or infinity"),
        ({"embeddings": torch.full((4, 2), torch.inf).half()}, "embeddings: expected finite values"),
        ({"embeddings": pd.DataFrame(np.eye(4, 2))}, "embeddings: expected a tensor or an array, found a DataFrame"),
        ({"embeddings": [*torch.eye(4, 2)]}, "embeddings: expected one tensor or array, found a list of tensors"),
        ({"embeddings": np.eye(4, 2).astype(str)}, "embeddings: expected real numbers, found <U"),
        ({"embeddings": np.eye(4, 2) + 1j}, "embeddings: expected real numbers, found complex128"),
        ({"embeddings": [[1.0, 2.0], [3.0]]}, "embeddings: expected a tensor or an array, found a list: "),
        ({"proxies": np.full((2, 1, 2), np.inf)}, "proxies: expected finite values"),
        ({"proxies": np.full((2, 1, 2), "x")}, "proxies: expected real numbers, found <U1"),
    ],
)
def test_what_is_no_number_is_refused_by_name(change, what):
    good = {"proxies": np.zeros((2, 1, 2)), "embeddings": np.eye(4, 2), "labels": np.array([0, 1, 0, 1])}
    with pytest.raises(ValueError, match=rf"^{what}"):
        proxy_wasserstein(**good | change)
    if "proxies" not in change:
        with pytest.raises(ValueError, match=rf"^{what}"):
            spread(**{key: value for key, value in (good | change).items() if key != "proxies"})
    if "embeddings" in change:
        with pytest.raises(ValueError, match=rf"^{what}"):
            class_wasserstein(good["proxies"][0], change["embeddings"])


def test_shapes_of_one_class_and_labels_without_proxies_are_checked():
    for proxies, embeddings in (((2,), (4, 2)), ((0, 2), (4, 2)), ((2, 3), (4, 2)), ((2, 2), (4,))):
        with pytest.raises(ValueError, match=r"^proxies, embeddings: expected \(M, D\) and \(n, D\), found"):
            class_wasserstein(np.zeros(proxies), np.zeros(embeddings))
    for labels in ([0.5, 1.0], ["a"], [-1, 0], [[0], [1]]):
        with pytest.raises(ValueError, match=r"^labels: expected \(n,\) integers from 0, found"):
            measured_classes(labels, 1)
