"""Labels of any integer type count as int64 in every loss; what is no batch is refused in words that name it."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from pfml.losses import LOSSES
from tests.losses.baseline_cases import call, make, random_batch, rows

KINDS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_every_integer_type_gives_the_same_bits(name, kind):
    loss, (embeddings, labels) = make(name), random_batch(0)
    embeddings = rows(loss, embeddings)
    expected = call(copy.deepcopy(loss), embeddings, labels)
    array = labels.numpy().astype(kind)
    for given in (array, torch.from_numpy(array), array.astype(array.dtype.newbyteorder())):
        found = call(copy.deepcopy(loss), embeddings, given)
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
        assert all(torch.equal(found[2][key], expected[2][key]) for key in expected[2])


@pytest.mark.parametrize("name", LOSSES)
def test_labels_that_are_no_integers_are_refused(name):
    loss, (embeddings, labels) = make(name), random_batch(1)
    embeddings = rows(loss, embeddings)
    array = labels.numpy()
    for bad, found in [
        (array.astype(str), "ndarray of <U"), (array.astype(float), "ndarray of float64"),
        (labels.half(), "torch.float16"), (array.astype(object), "ndarray of object"),
        (array > 2, "ndarray of bool"), (labels > 2, "torch.bool"),
        (labels.tolist(), "list"), (list(labels), "list"), (pd.Series(array), "Series"), (None, "NoneType"),
        (pd.DataFrame(array), "DataFrame"), ([f"class {i}" for i in array], "list"),
        (torch.full((24,), float("nan")), "torch.float32"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^labels are {found}.*; expected an integer tensor"):
            loss(embeddings, bad)


@pytest.mark.parametrize("name", LOSSES)
def test_embeddings_that_are_no_tensor_are_refused(name):
    loss, (embeddings, labels) = make(name), random_batch(2)
    embeddings = rows(loss, embeddings)
    for bad, found in [
        (embeddings.numpy(), "ndarray"), (list(embeddings), "list"), (pd.DataFrame(embeddings.numpy()), "DataFrame"),
        (embeddings.long(), "torch.int64"), (embeddings + 1j, "torch.complex64"), (None, "NoneType"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^embeddings are {found}; expected a floating point tensor"):
            loss(bad, labels)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("label", [-1, 6, 2**63 - 1, 2**40])
def test_labels_out_of_range_are_refused(name, label):
    loss, (embeddings, labels) = make(name), random_batch(3)
    embeddings = rows(loss, embeddings)
    labels[4] = label
    for bad in (labels, labels.numpy(), *([labels.numpy().astype(np.uint64)] if label > 0 else [])):
        with pytest.raises(ValueError, match=r"labels lie in \[-?\d+, \d+\]; expected \[0, 5\]"):
            loss(embeddings, bad)


@pytest.mark.parametrize("name", ["pfml", "cpml"])
def test_proxies_start_from_labels_of_any_integer_type(name):
    (embeddings, labels), found = random_batch(4), []
    for given in (labels, labels.to(torch.uint8), labels.numpy().astype(np.int32)):
        loss = make(name, proxy_init="data")
        loss.initialize_proxies(embeddings, given, torch.Generator().manual_seed(0))
        found.append(loss.proxies.detach())
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    with pytest.raises(ValueError, match=r"^labels are ndarray of <U"):
        make(name, proxy_init="data").initialize_proxies(embeddings, labels.numpy().astype(str))
