"""Retrieval measures are exact: for any tie, tile, thread count and first look they equal whole-number arithmetic."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pfml.retrieval import nearest_neighbors, retrieval_metrics
from pfml.retrieval import ranks as retrieval_ranks
from pfml.retrieval.ranks import Gallery, _centered, fixed_point, positive_ranks


def scores(answers, ks) -> dict[str, float]:
    """The measures of whether each point found is of the query's class, a list for each query, the nearest first."""
    out = {f"recall@{k}": [] for k in ks} | {"r_precision": [], "map@r": []}
    for hits in answers:
        if not (r := sum(hits)):
            continue
        for k in ks:
            out[f"recall@{k}"].append(float(any(hits[:k])))
        out["r_precision"].append(sum(hits[:r]) / r)
        out["map@r"].append(sum(sum(hits[: p + 1]) / (p + 1) for p in range(r) if hits[p]) / r)
    return {name: math.fsum(values) / len(values) for name, values in out.items()}


def oracle(embeddings, labels, ks) -> dict[str, float]:
    """From the definitions, with whole numbers as similarities: equal ones in index order."""
    points = fixed_point(torch.as_tensor(embeddings)).long().numpy()
    labels, index = np.asarray(labels), np.arange(len(points))
    orders = (np.lexsort((index, -similarity)) for similarity in points @ points.T)
    return scores(((labels[order[order != i]] == labels[i]).tolist() for i, order in enumerate(orders)), ks)


def clustered(n: int, dim: int, classes: int, seed: int = 0, spread: float = 1.5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    centres = rng.normal(size=(classes, dim))
    return (centres[labels] + spread * rng.normal(size=(n, dim))).astype(np.float32), labels


@st.composite
def scenes(draw):
    """Few directions for many points, so that most similarities tie, also between classes; copies; zero vectors."""
    n, dim = draw(st.integers(3, 24)), draw(st.integers(1, 4))
    kind = draw(st.sampled_from(["grid", "random", "copies"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    points = rng.integers(-2, 3, (n, dim)).astype(float) if kind == "grid" else rng.normal(size=(n, dim))
    if kind == "copies":
        points = points[rng.integers(0, max(n // 3, 1), n)]
    labels = rng.integers(0, draw(st.integers(1, max(n // 2, 1))), n)
    labels[1] = labels[0]
    return points.astype(draw(st.sampled_from([np.float32, np.float64]))), labels


@settings(max_examples=150, deadline=None)
@given(
    scenes(), st.lists(st.integers(1, 30), min_size=1, max_size=3), st.integers(1, 200), st.sampled_from([1, 5, 128])
)
def test_every_look_and_tile_equals_the_oracle(scene, ks, strip, listed):
    expected = oracle(*scene, ks)
    found = retrieval_metrics(*scene, ks)
    assert found == pytest.approx(expected, abs=1e-12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval_ranks, "STRIP", strip)
        patch.setattr(retrieval_ranks, "LISTED", listed)
        assert retrieval_metrics(*scene, ks, "torch") == found
        patch.setattr(retrieval_ranks, "FAISS_SPARE", strip % 3)
        assert retrieval_metrics(*scene, ks, "faiss") == found


@pytest.mark.parametrize("kind", ["spread", "copies", "cone", "one point"])
def test_no_tile_thread_count_or_library_shows(kind, monkeypatch):
    embeddings, labels = clustered(700, 48, 60)
    if kind == "copies":
        embeddings[350:] = embeddings[:350]
    elif kind == "cone":  # similarities differ by less than a float32 of them can tell
        embeddings += 300
    elif kind == "one point":
        embeddings[:] = 1
    ks = (1, 10, 200)
    found = retrieval_metrics(embeddings, labels, ks)
    assert found == pytest.approx(oracle(embeddings, labels, ks), abs=1e-12)
    threads = torch.get_num_threads()
    try:
        for strip, listed, count in ((3_000, 1, 1), (50_000, 300, 2), (2**24, 128, 3)):
            monkeypatch.setattr(retrieval_ranks, "STRIP", strip)
            monkeypatch.setattr(retrieval_ranks, "LISTED", listed)
            torch.set_num_threads(count)
            assert retrieval_metrics(embeddings, labels, ks, "torch") == found
            assert retrieval_metrics(embeddings, labels, ks, "faiss") == found
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("aside", [0, 30, 1000])
def test_the_first_look_settles_nearly_all_queries_and_never_wrongly(aside, monkeypatch):
    """Also in a cone so narrow that float32 similarities are equal: 1000 aside their differences are below 1e-6."""
    embeddings, labels = map(torch.as_tensor, clustered(2000, 64, 400))
    embeddings += aside
    asked = []
    exact_look = retrieval_ranks.strip_bounds

    def counted(gallery, ks, exact=False):
        bounds = exact_look(gallery, ks, exact)
        return lambda queries: (asked.append((exact, len(queries))), bounds(queries))[1]

    monkeypatch.setattr(retrieval_ranks, "strip_bounds", counted)
    found = retrieval_metrics(embeddings, labels, (1, 10, 1000))
    assert found == pytest.approx(oracle(embeddings, labels, (1, 10, 1000)), abs=1e-12)
    assert 0 < sum(count for exact, count in asked if exact) < 100 < sum(count for exact, count in asked if not exact)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(2, 40), st.integers(1, 70), st.sampled_from([0.0, 1.0, 30.0, 1e4, 1e6, 1e7]), st.integers(0, 2**20),
    st.booleans(),
)  # fmt: skip
def test_rounding_stays_within_the_band(n, dim, aside, seed, heavy):
    """Differences of float32 similarities against those of whole numbers, of any two points around a third."""
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_t(1, (n, dim)) if heavy else rng.normal(size=(n, dim))
    points = fixed_point(torch.from_numpy(embeddings + aside))
    vectors, offsets, band = _centered(points)
    rounded = torch.addmm(offsets, vectors, vectors.T).double().numpy()
    whole = points.long().numpy()
    exact = (whole @ whole.T) * 4.0**-26
    apart = (rounded[:, :, None] - rounded[:, None, :]) - (exact[:, :, None] - exact[:, None, :])
    assert np.abs(apart).max() <= band


def test_ranks_by_hand():
    """Directions at 0, 1, 3, 7, 12 and 18 degrees, classes a b a b a b: R is 2; past it no rank is promised."""
    angles = torch.deg2rad(torch.tensor([0.0, 1, 3, 7, 12, 18]))
    gallery = Gallery(fixed_point(torch.stack([angles.cos(), angles.sin()], 1)), torch.tensor([0, 1, 0, 1, 0, 1]))
    ranks = {int(q): r.tolist() for queries, part in positive_ranks(gallery, [1]) for q, r in zip(queries, part)}
    # From 0: 1 (b), 3 (a) ... From 1: 0 (a), 3 (a), 7 (b). From 3: 1 (b), 0 (a). From 7: 3 (a), 12 (a).
    # From 12: 7 (b), 18 (b). From 18: 12 (a), 7 (b).
    assert [[rank for rank in ranks[q] if rank < 2] for q in range(6)] == [[1], [], [1], [], [], [1]]


def test_classes_of_very_unlike_sizes():
    embeddings, _ = clustered(600, 16, 10)
    labels = np.concatenate([np.zeros(300, int), np.arange(1, 101).repeat(2), np.arange(200, 300)])
    found = retrieval_metrics(embeddings, labels, (1, 8))
    assert found == pytest.approx(oracle(embeddings, labels, (1, 8)), abs=1e-12)


def test_one_contradictory_copy_moves_a_tie_by_the_index():
    """Equal pictures at 1 and 2, under two classes: 0 finds its own where that has the lower index. 3 finds 0."""
    points = torch.tensor([[0.8, 0.6], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert retrieval_metrics(points, torch.tensor([0, 0, 1, 1]), (1,))["recall@1"] == 1 / 4
    assert retrieval_metrics(points, torch.tensor([0, 1, 0, 1]), (1,))["recall@1"] == 0


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_equal_to_pytorch_metric_learning_where_nothing_ties(backend):
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    embeddings, labels = map(torch.as_tensor, clustered(800, 32, 90, seed=3))
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(CosineSimilarity()),
        device=torch.device("cpu"),
    )
    theirs = calculator.get_accuracy(embeddings.double(), labels)
    ours = retrieval_metrics(embeddings, labels, (1,), backend)
    assert list(ours.values()) == pytest.approx(
        [theirs[name] for name in ("precision_at_1", "r_precision", "mean_average_precision_at_r")], abs=1e-9
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8])
def test_any_precision_is_measured_as_its_values_stand(dtype):
    embeddings, labels = clustered(300, 24, 40)
    low = torch.as_tensor(4 * embeddings).to(dtype)
    assert retrieval_metrics(low, labels) == retrieval_metrics(low.double().numpy(), labels)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_any_scale(scale):
    embeddings, labels = clustered(200, 8, 30)
    assert retrieval_metrics(embeddings.astype(float) * scale, labels) == retrieval_metrics(embeddings, labels)


def test_fast_products_of_the_program_do_not_show():
    """bfloat16 products, by the program's setting or by autocast, would break the error bound of the first look."""
    embeddings, labels = map(torch.as_tensor, clustered(600, 64, 60))
    found = retrieval_metrics(embeddings, labels)
    before = torch.backends.mkldnn.matmul.fp32_precision
    try:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        assert retrieval_metrics(embeddings, labels) == found
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
    with torch.autocast("cpu", torch.bfloat16):
        assert retrieval_metrics(embeddings, labels) == found
        assert len(next(nearest_neighbors(embeddings, torch.tensor([0]), 3))[1][0]) == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_numbers():
    embeddings, labels = map(torch.as_tensor, clustered(3000, 64, 400))
    ks = (1, 10, 1000)
    assert retrieval_metrics(embeddings.cuda(), labels.cuda(), ks) == retrieval_metrics(embeddings, labels, ks)
