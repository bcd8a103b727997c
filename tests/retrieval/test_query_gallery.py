"""Queries and gallery as separate sets, as in In-shop Clothes Retrieval: a query is searched in the gallery alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pfml.retrieval import nearest_neighbors, retrieval_metrics
from pfml.retrieval import ranks as retrieval_ranks
from pfml.retrieval.ranks import fixed_point
from tests.retrieval.test_retrieval import on_circle
from tests.retrieval.test_retrieval_ranks import clustered, scenes, scores


def oracle(embeddings, labels, queries, gallery, ks) -> dict[str, float]:
    """From the definitions, query by query, with whole numbers as similarities: equal ones in index order."""
    points, labels = fixed_point(torch.as_tensor(embeddings)).long().numpy(), np.asarray(labels)
    answers = []
    for i in queries:
        others = sorted((j for j in gallery if j != i), key=lambda j: (-int(points[i] @ points[j]), j))
        answers.append([bool(labels[j] == labels[i]) for j in others])
    return scores(answers, ks)


def test_by_hand():
    """Queries at 0 (a), 50 (b) and 90 (c); gallery at 10 (b), 20 (a), 45 (b), 52 (a). No c is in the gallery."""
    embeddings, labels = on_circle(0, 50, 90, 10, 20, 45, 52), torch.tensor([0, 1, 2, 1, 0, 1, 0])
    found = retrieval_metrics(embeddings, labels, (1, 2, 4), queries=[0, 1, 2], gallery=[3, 4, 5, 6])
    # From 0: b a b a, R = 2, precision 1/2 at rank 2. From 50: a b a b, the same. The third query does not count.
    assert found == {"recall@1": 0, "recall@2": 1, "recall@4": 1, "r_precision": 0.5, "map@r": 0.25}


@st.composite
def separate(draw):
    """A scene with ties, and any two parts of it that share a class: of unlike size, disjoint or not."""
    embeddings, labels = draw(scenes())
    n = len(labels)
    kind = draw(st.sampled_from(["disjoint", "overlapping", "few queries", "few in the gallery"]))
    order = np.random.default_rng(draw(st.integers(0, 2**20))).permutation(n)
    cut = {"few queries": 1, "few in the gallery": n - 1}.get(kind, draw(st.integers(1, n - 1)))
    queries, gallery = order[:cut], order[cut - 2 if kind == "overlapping" and cut > 1 else cut :]
    return embeddings, labels, queries, gallery


@settings(max_examples=200, deadline=None)
@given(
    separate(), st.lists(st.integers(1, 30), min_size=1, max_size=3), st.integers(1, 200), st.sampled_from([1, 5, 128])
)
def test_every_look_and_tile_equals_the_oracle(scene, ks, strip, listed):
    embeddings, labels, queries, gallery = scene
    sides = {"queries": queries, "gallery": gallery}
    if not any(labels[i] == labels[j] for i in queries for j in gallery if i != j):
        with pytest.raises(ValueError, match="no query has another point of its class in the gallery"):
            retrieval_metrics(embeddings, labels, ks, **sides)
        return
    expected = oracle(*scene, ks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval_ranks, "STRIP", strip)
        patch.setattr(retrieval_ranks, "LISTED", listed)
        found = retrieval_metrics(embeddings, labels, ks, "torch", **sides)
        assert found == pytest.approx(expected, abs=1e-12)
        patch.setattr(retrieval_ranks, "FAISS_SPARE", strip % 3)
        assert retrieval_metrics(embeddings, labels, ks, "faiss", **sides) == found


@pytest.mark.parametrize("kind", ["spread", "copies", "cone", "one point"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_of_many_points(kind, share):
    embeddings, labels = clustered(500, 32, 60)
    if kind == "copies":
        embeddings[250:] = embeddings[:250]
    elif kind == "cone":
        embeddings += 300
    elif kind == "one point":
        embeddings[:] = 1
    order = np.random.default_rng(1).permutation(500)
    queries, gallery = np.split(order, [int(500 * share)])
    for backend in ("torch", "faiss"):
        found = retrieval_metrics(embeddings, labels, (1, 10, 200), backend, queries=queries, gallery=gallery)
        assert found == pytest.approx(oracle(embeddings, labels, queries, gallery, (1, 10, 200)), abs=1e-12)


def test_all_points_on_both_sides_are_the_usual_protocol():
    """The same bits as without the two arguments."""
    embeddings, labels = clustered(400, 16, 50)
    embeddings[300:] = embeddings[:100]
    usual, points = retrieval_metrics(embeddings, labels, (1, 10)), np.arange(400)
    assert retrieval_metrics(embeddings, labels, (1, 10), queries=points) == usual
    assert retrieval_metrics(embeddings, labels, (1, 10), queries=points[::-1], gallery=torch.arange(400)) == usual


def test_a_part_of_the_queries_is_searched_in_all_others():
    embeddings, labels = clustered(200, 16, 20)
    found = retrieval_metrics(embeddings, labels, (1, 8), queries=range(30))
    assert found == pytest.approx(oracle(embeddings, labels, range(30), range(200), (1, 8)), abs=1e-12)


def test_among_equal_similarities_the_lower_index_comes_first():
    """A query and two copies of it in the gallery, of which one has its class. The order of the numbers is no rule."""
    embeddings = on_circle(0, 0, 0, 90)
    for labels, recall in (([0, 0, 1, 1], 1), ([0, 1, 0, 1], 0)):
        for gallery in ([1, 2, 3], [3, 2, 1]):
            found = retrieval_metrics(embeddings, labels, (1,), queries=[0], gallery=gallery)
            assert found["recall@1"] == recall


def test_neighbors_are_of_the_gallery():
    embeddings = on_circle(0, 1, 2, 3, 90)
    ((_, found),) = nearest_neighbors(embeddings, [0, 1], 2, gallery=[4, 3, 2])
    assert found.tolist() == [[2, 3], [2, 3]]
    ((_, found),) = nearest_neighbors(embeddings, [0, 4], 9, gallery=[2, 4])
    assert found.tolist() == [[2], [2]]  # the second query is in the gallery: one other point is left


@pytest.mark.parametrize(
    "sides, message",
    [
        ({"queries": [0, 4]}, "queries: expected numbers of points, 0 to 3, found 0 to 4"),
        ({"gallery": [-1]}, "gallery: expected numbers of points, 0 to 3, found -1 to -1"),
        ({"queries": [[0]]}, r"queries: expected shape \(q,\), found \(1, 1\)"),
        ({"gallery": [1, 1, 2]}, "gallery: expected each point once, found 3 numbers of 2 points"),
        ({"queries": np.array([True, False, True, False])}, r"queries: .* found a mask; give its nonzero\(\)"),
        ({"gallery": torch.ones(4, dtype=torch.bool)}, "gallery: .* found a mask"),
        ({"queries": [0.5]}, "queries: expected integers"),
        ({"queries": [0, 1], "gallery": [2, 3]}, "no query has another point of its class in the gallery"),
        ({"queries": [0], "gallery": [0, 2, 3]}, "no query has another point of its class in the gallery"),
    ],
)
def test_bad_sides_are_refused(sides, message):
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(torch.eye(4), torch.tensor([0, 0, 1, 1]), (1,), **sides)
