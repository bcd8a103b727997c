"""What the measures take, and what they refuse in words that name the argument."""

import numpy as np
import pandas as pd
import pytest
import torch

from pfml.retrieval import clustering_nmi, nearest_neighbors, retrieval_metrics
from pfml.retrieval.memorisation import label_fit, neighborhoods

RANDOM = np.random.default_rng(0)
POINTS, LABELS = RANDOM.normal(size=(40, 6)).astype(np.float32), RANDOM.integers(0, 5, 40)
TRUE = RANDOM.integers(0, 5, 40)
MEASURES = {
    "retrieval_metrics": lambda points, labels: retrieval_metrics(points, labels, (1, 2)),
    "clustering_nmi": clustering_nmi,
    "label_fit given": lambda points, labels: label_fit(points, labels, TRUE),
    "label_fit true": lambda points, labels: label_fit(points, TRUE, labels),
    "neighborhoods": lambda points, labels: neighborhoods(points, labels, np.arange(5), 3).tolist(),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", MEASURES)
def test_half_precision_and_autocast_count_as_the_same_numbers(name, dtype):
    measure, half = MEASURES[name], torch.from_numpy(POINTS).to(dtype)
    expected = measure(half.float(), LABELS)
    assert measure(half, LABELS) == expected
    with torch.autocast("cpu", dtype):
        assert measure(half, LABELS) == measure(half.float(), LABELS) == expected
    if dtype == torch.float16:
        assert measure(half.numpy(), LABELS) == expected


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("name", MEASURES)
def test_labels_of_every_integer_type(name, kind):
    measure, labels = MEASURES[name], LABELS.astype(kind)
    expected = measure(POINTS, LABELS)
    for given in (labels, torch.from_numpy(labels), labels.astype(labels.dtype.newbyteorder()), labels.tolist()):
        assert measure(POINTS, given) == expected


@pytest.mark.parametrize("name", MEASURES)
def test_views_of_arrays_and_lists_of_numbers_are_welcome(name):
    measure = MEASURES[name]
    expected = measure(POINTS, LABELS)
    assert measure(POINTS[::-1].copy()[::-1], LABELS[::-1].copy()[::-1]) == expected
    assert measure(POINTS.astype(">f4"), LABELS) == expected
    assert measure(POINTS.tolist(), LABELS) == expected
    assert measure(torch.from_numpy(POINTS).requires_grad_(), LABELS) == expected


BAD_LABELS = {
    "texts": (LABELS.astype(str), "expected integers, found a ndarray of <U21; number the classes from 0"),
    "a list of texts": ([*LABELS.astype(str)], "expected integers, found a list of <U"),
    "floats": (LABELS.astype(float), "expected integers, found"),
    "a tensor of floats": (torch.from_numpy(LABELS).half(), "expected integers, found torch.float16"),
    "NaN": (np.full(40, np.nan), "expected integers, found"),
    "a list of tensors": ([*torch.from_numpy(LABELS)], "found a list of tensors; join them"),
    "a table": (pd.DataFrame(LABELS), "found a DataFrame; give its .to_numpy"),
    "a column": (pd.Series(LABELS), "found a Series; give its .to_numpy"),
    "objects": (LABELS.astype(object), "expected integers, found a ndarray of object"),
    "nothing": (None, "expected integers, found a NoneType of object"),
    "unlike rows": ([[1, 2], [3]], "found a list: "),
}


@pytest.mark.parametrize("case", BAD_LABELS)
@pytest.mark.parametrize("name", MEASURES)
def test_labels_that_are_no_integers_are_refused(name, case):
    argument, (bad, words) = name.split()[-1] if " " in name else "labels", BAD_LABELS[case]
    with pytest.raises(ValueError, match=f"^{argument}: .*{words}"):
        MEASURES[name](POINTS, bad)


def with_one(value):
    points = POINTS.copy()
    points[3, 2] = value
    return points


BAD_POINTS = {
    "NaN": (with_one(np.nan), "expected finite values"),
    "infinity": (torch.from_numpy(with_one(np.inf)).bfloat16(), "expected finite values"),
    "texts": (POINTS.astype(str), "expected numbers, found a ndarray of <U"),
    "a list of tensors": ([*torch.from_numpy(POINTS)], "found a list of tensors; join them"),
    "a table": (pd.DataFrame(POINTS), "found a DataFrame; give its .to_numpy"),
    "complex": (POINTS + 1j, "expected real numbers, found complex64"),
    "objects": (POINTS.astype(object), "expected numbers, found a ndarray of object"),
    "unlike rows": ([[1.0, 2.0], [3.0]], "found a list: "),
    "one row": (POINTS[0], r"expected shapes? \(n, D\)"),
    "nothing": (None, "expected numbers, found a NoneType"),
}


@pytest.mark.parametrize("case", BAD_POINTS)
@pytest.mark.parametrize("name", MEASURES)
def test_embeddings_that_are_no_points_are_refused(name, case):
    bad, words = BAD_POINTS[case]
    with pytest.raises(ValueError, match=f"^embeddings.*: .*{words}"):
        MEASURES[name](bad, LABELS)


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"^given, true: expected one shape \(n,\), found \(40,\) and \(39,\)"):
        label_fit(POINTS, LABELS, TRUE[1:])
    with pytest.raises(ValueError, match=r"^labels: expected shape \(39,\), one for each embedding, found \(40,\)"):
        label_fit(POINTS[1:], LABELS, TRUE)
    with pytest.raises(ValueError, match=r"^given: expected shape \(n,\), found \(40, 1\)"):
        label_fit(POINTS, LABELS[:, None], TRUE[:, None])


@pytest.mark.parametrize("queries", [[0, 40], [-1], [[0, 1]], [0.5], ["0"]])
def test_queries_that_are_no_points_are_refused(queries):
    with pytest.raises(ValueError, match=r"^queries: expected"):
        nearest_neighbors(POINTS, np.array(queries), 3)
