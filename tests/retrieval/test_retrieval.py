import math

import numpy as np
import pytest
import torch

from pfml.retrieval import clustering_nmi, nearest_neighbors, retrieval_metrics


def on_circle(*degrees):
    return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def slow(embeddings, labels, ks):
    """Double loop in float64, straight from the definitions."""
    x = np.asarray(embeddings, dtype=np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    out = {f"recall@{k}": [] for k in ks} | {"r_precision": [], "map@r": []}
    for i in range(len(x)):
        r = int((labels == labels[i]).sum()) - 1
        if r == 0:
            continue
        others = [j for j in range(len(x)) if j != i]
        order = sorted(others, key=lambda j: (-round(float(x[i] @ x[j]), 12), j))
        hits = [labels[j] == labels[i] for j in order]
        for k in ks:
            out[f"recall@{k}"].append(any(hits[:k]))
        out["r_precision"].append(sum(hits[:r]) / r)
        out["map@r"].append(sum(sum(hits[: p + 1]) / (p + 1) for p in range(r) if hits[p]) / r)
    return {name: float(np.mean(values)) for name, values in out.items()}


def test_by_hand():
    # At 0, 10, 25, 31 degrees: neighbours of 0 are 10 (a), 25, 31; of 10: 0 (a); of 25: 31 (b); of 31: 25 (b).
    assert retrieval_metrics(on_circle(0, 10, 25, 31), torch.tensor([0, 0, 1, 1]), (1, 2)) == {
        "recall@1": 1.0, "recall@2": 1.0, "r_precision": 1.0, "map@r": 1.0
    }  # fmt: skip
    # Labels interleaved: 0 -> 10 (other), 25 (own): found at rank 2. 10 -> 0 (other), 25 (other), 31 (own).
    # 25 -> 31 (other), 10 (other), 0 (own). 31 -> 25 (other), 10 (own).
    found = retrieval_metrics(on_circle(0, 10, 25, 31), torch.tensor([0, 1, 0, 1]), (1, 2, 3))
    assert found == {"recall@1": 0, "recall@2": 0.5, "recall@3": 1, "r_precision": 0, "map@r": 0}


def test_map_at_r_by_hand():
    # Query at 0 of class a (3 members, R = 2); neighbours in order: a, b, a -> precision 1 at rank 1, miss at rank 2.
    found = retrieval_metrics(on_circle(0, 5, 15, 40), torch.tensor([0, 0, 1, 0]), (1,))
    # 0: (1/1)/2 = .5; 5: 0 (a) hit, 15 (b) miss -> .5; 40: 15 (b), 5 (a): (1/2)/2 = .25; the b has no partner.
    assert found["map@r"] == pytest.approx((0.5 + 0.5 + 0.25) / 3)
    assert found["r_precision"] == pytest.approx(0.5)


@pytest.mark.parametrize("backend", ["faiss", "torch"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_double_loop(backend, seed):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(90, 6)).astype(np.float32) * rng.uniform(0.1, 10, (90, 1)).astype(np.float32)
    labels = rng.integers(0, 12, 90)
    labels[0] = 99  # a class of one member
    ks = (1, 2, 4, 8)
    found = retrieval_metrics(embeddings, labels, ks, backend)
    assert found == pytest.approx(slow(embeddings, labels, ks), abs=1e-9)


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_a_query_is_removed_by_index_even_among_duplicates(backend):
    """Three copies of one image, two with contradictory labels: dropping rank 0 instead would be wrong."""
    embeddings = torch.cat([on_circle(0).expand(3, 2), on_circle(90, 91)])
    labels = torch.tensor([0, 1, 0, 1, 1])
    found = retrieval_metrics(embeddings, labels, (1, 2), backend)
    # 0 -> first copy by index is item 1 (wrong), then 2; 1 -> 0 (wrong), 2 (wrong); 2 -> 0 (right); 3, 4 right.
    assert found["recall@1"] == pytest.approx(3 / 5) and found["recall@2"] == pytest.approx(4 / 5)


def test_more_duplicates_than_the_depth_never_return_the_query():
    embeddings, labels = torch.ones(40, 3), torch.arange(40) % 20
    for backend in ("faiss", "torch"):
        found = retrieval_metrics(embeddings, labels, (1,), backend)
        assert 0 <= found["recall@1"] <= 2 / 40


@pytest.mark.parametrize("points", [50, 1000])
def test_equal_similarities_come_in_index_order(points):
    """Also where only some of the equal ones find room in the list."""
    embeddings = on_circle(0, 90).repeat_interleave(points // 2, 0)
    queries = torch.tensor([0, 5, points - 1])
    ((_, found),) = nearest_neighbors(embeddings, queries, 3)
    assert found.tolist() == [[1, 2, 3], [0, 1, 2], [points // 2, points // 2 + 1, points // 2 + 2]]


def test_depth_beyond_the_number_of_points():
    assert retrieval_metrics(on_circle(0, 1, 2), torch.tensor([0, 0, 0]), (1, 8))["recall@8"] == 1


def test_nmi_is_one_for_separate_clusters_and_low_for_random_labels():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 8)) * 10
    labels = np.repeat(range(5), 20)
    points = centres[labels] + rng.normal(size=(100, 8)) * 0.01
    assert clustering_nmi(points, labels) == pytest.approx(1)
    assert clustering_nmi(points, rng.permutation(labels)) < 0.3


@pytest.mark.parametrize(
    "embeddings, labels, ks, what",
    [
        (torch.ones(3), torch.ones(3).long(), (1,), "embeddings, labels"),
        (torch.ones(3, 2), torch.ones(2).long(), (1,), "labels"),
        (torch.ones(2, 2), torch.ones(2), (1,), "integers"),
        (torch.tensor([[math.nan], [1.0]]), torch.zeros(2).long(), (1,), "embeddings: expected finite"),
        (torch.ones(2, 2), torch.tensor([0, 1]), (1,), "two members"),
        (torch.full((2, 2), math.inf).half(), torch.zeros(2).long(), (1,), "embeddings: expected finite"),
        (torch.ones(2, 2, dtype=torch.complex64), torch.zeros(2).long(), (1,), "embeddings: expected real"),
        (torch.ones(2, 2), torch.zeros(2).long(), (0,), "ks"),
        (torch.ones(2, 2), torch.zeros(2).long(), (), "ks"),
        (torch.ones(2, 2), torch.zeros(2).long(), 1, "ks"),
        (torch.ones(2, 2), torch.zeros(2).long(), (1.5,), "ks"),
        (torch.ones(1, 2), torch.zeros(1).long(), (1,), "at least 2"),
    ],
)
def test_bad_input_is_refused(embeddings, labels, ks, what):
    with pytest.raises(ValueError, match=what):
        retrieval_metrics(embeddings, labels, ks)


def test_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="backend"):
        retrieval_metrics(torch.ones(2, 2), torch.zeros(2).long(), (1,), "annoy")
