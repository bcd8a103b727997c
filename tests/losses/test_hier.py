"""HIER: triplets and choices by hand, value and gradients against loops over the triplets that were drawn."""

import math
from functools import partial

import pytest
import torch
from scipy.stats import kstest

from pfml.losses.baselines.hier import TripletLoss, choose, exponentials, soft_choice, uniform
from tests.losses.baseline_cases import CLASSES, DIM, assert_agrees, call, make, random_batch
from tests.oracles.hyperbolic import tree
from tests.oracles.methods import HIER, hier, hierarchies, joined


def slices(count, rows):
    return [slice(start, start + rows) for start in range(0, count, rows)]


@pytest.mark.parametrize("seed, hierarchy, topk, rows", [(0, 7, 6, 1000), (1, 7, 6, 4), (2, 12, 4, 5), (3, 8, 5, 1)])
def test_value_and_gradients_equal_the_authors_on_the_same_draws(seed, hierarchy, topk, rows, monkeypatch):
    monkeypatch.setattr("pfml.losses.baselines.hier.row_chunks", lambda x: slices(len(x), rows))
    settings = HIER | {"c": 0.2, "lambda2": 0.7, "anchor_scale": 8.0}
    drawing = {"hierarchy": hierarchy, "topk": topk, "triplets": 3, "hierarchy_rate": 0.5}
    loss = make("hier", seed=seed, **settings, **drawing).double()
    with hierarchies(loss) as drawn:
        formula = partial(hier, drawn=drawn, settings=settings)
        assert_agrees(loss, formula, *random_batch(seed, count=15), rtol=1e-7)


def test_proxy_anchor_by_hand_in_the_plane():
    loss = make("hier", 2, 2, anchor_margin=0.1, anchor_scale=2.0)
    with torch.no_grad():
        loss.proxies.copy_(torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]]))
    # One image at its proxy, at a right angle to the other: log(1 + e^-1.8) + (log(1) + log(1 + e^0.2)) / 2.
    value = loss.proxy_anchor(torch.tensor([[3.0, 0.0]]), torch.tensor([0]))
    assert value.item() == pytest.approx(math.log1p(math.exp(-1.8)) + math.log1p(math.exp(0.2)) / 2, rel=1e-6)


def test_one_triplet_by_hand():
    """Two ancestors; i and j sit at the first, k at the second: pulled there, ancestor of all three is the second."""
    loss = make("hier", 2, 2, tau=1e-4, margin=0.5)
    loss.draw_triplets = lambda near, generator: tuple(torch.tensor([n]) for n in range(3))
    distances = torch.tensor([[1.0, 2.0], [1.5, 2.0], [4.0, 1.0]])
    # rho_ij is 0 (1.5 against 2); rho_ijk is 1 (4 against 2): [1 - 2 + .5]+ + [1.5 - 2 + .5]+ + [1 - 4 + .5]+ = 0.
    assert loss._tree(torch.eye(3), distances, torch.Generator().manual_seed(0)) == 0
    distances[1, 1] = 1.8  # now [1.5 - 1.8 + .5]+ = 0.2
    assert loss._tree(torch.eye(3), distances, torch.Generator().manual_seed(0)).item() == pytest.approx(0.2)
    distances[2] = torch.tensor([0.1, 1.0])  # k too at the first: one ancestor for all, no loss
    assert loss._tree(torch.eye(3), distances, torch.Generator().manual_seed(0)) == 0


def test_triplets_are_drawn_among_common_neighbours_and_the_rest():
    loss = make("hier", topk=3, triplets=200)
    # 0, 1, 2 are each other's nearest; 3 lists 0 and 1, which do not list it; 4 and 5 list each other.
    near = torch.tensor([
        [9, 5, 4, 1, 0, 0], [5, 9, 4, 1, 0, 0], [4, 5, 9, 1, 0, 0],
        [3, 2, 0, 9, 1, 1], [0, 0, 0, 1, 9, 5], [0, 0, 0, 1, 5, 9],
    ]).float()  # fmt: skip
    i, j, k = loss.draw_triplets(near, torch.Generator().manual_seed(0))
    assert i.tolist() == [0] * 200 + [1] * 200 + [2] * 200, "others have fewer than two common neighbours"
    for anchor in range(3):
        drawn = i == anchor
        assert set(j[drawn].tolist()) == {0, 1, 2} - {anchor}
        assert set(k[drawn].tolist()) == {3, 4, 5, anchor}


@pytest.mark.parametrize("columns", [3, 6, 64])  # 1, 2 and 32 lanes
def test_choices_follow_the_softmax(columns):
    generator = torch.Generator().manual_seed(0)
    shares = (1.5 * torch.randn(columns, generator=generator)).softmax(0)
    chosen = choose(shares.repeat(50000, 1), generator)
    torch.testing.assert_close(chosen.bincount(minlength=columns) / 50000, shares, rtol=0.03, atol=0.002)
    never = torch.tensor([0.0, 1e-30, 0.0, 1.0, 0.0, 0.0]).repeat(5000, 1)
    assert set(choose(never, generator).tolist()) == {3}, "a share of 0 is never drawn"


def test_soft_choices_are_those_of_gumbel_noise():
    """exp(-noise) of logits log p must be independent exponential numbers, those of the choice included."""
    generator, shares = torch.Generator().manual_seed(0), torch.tensor([0.6, 0.3, 0.1, 1e-4], dtype=torch.float64)
    shares = (shares / shares.sum()).repeat(20000, 1)
    chosen = choose(shares, generator)
    e = exponentials(shares.shape, shares, generator)
    soft = soft_choice(shares, chosen, e)
    assert torch.equal(soft.argmax(1), chosen) and torch.allclose(soft.sum(1), torch.ones(20000, dtype=soft.dtype))
    # soft = (p / e') / sum, and the largest of p / e' is 1 / e at the choice.
    first = e.gather(1, chosen[:, None])
    implied = shares / soft * soft.amax(1, keepdim=True) * first
    for column in implied.T:
        assert kstest(column.numpy(), "expon").pvalue > 1e-3
    correlation = torch.corrcoef((1 - torch.exp(-implied)).T) - torch.eye(4)
    assert correlation.abs().max() < 0.025


def test_exponential_numbers_are_finite_and_positive():
    e = exponentials((2, 25000), torch.zeros(1), torch.Generator().manual_seed(0))
    assert e.dtype == torch.float32 and kstest(e.flatten().numpy(), "expon").pvalue > 1e-3
    ends = torch.tensor([-(2**31), 2**31 - 1], dtype=torch.int32)
    for dtype in (torch.float32, torch.float64):
        least, most = uniform(ends, dtype)
        assert 0 < least < 1e-6 and 1 - 1e-6 < most < 1


@pytest.mark.parametrize("dtype, rtol", [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("nodes, columns, triplets, distinct", [(3, 2, 40, 3), (9, 33, 30, 4), (12, 64, 50, 12)])
def test_any_triplets_equal_the_loop_with_equal_distances_too(nodes, columns, triplets, distinct, dtype, rtol):
    """Where nodes coincide, so do their distances: the gradient of a maximum goes in halves then."""
    generator = torch.Generator().manual_seed(columns)
    places = 3 * torch.rand(distinct, columns, generator=generator).to(dtype)
    distances = places[torch.arange(nodes) % distinct].requires_grad_()
    loss = make("hier", 2, 2, tau=0.4, margin=0.3)
    drawn = torch.randint(nodes, (3, triplets), generator=generator)
    loss.draw_triplets = lambda near, generator: tuple(drawn)
    with hierarchies(loss) as seen:
        value = loss._tree(None, distances, torch.Generator().manual_seed(0))
    wide = distances.detach().double().requires_grad_()
    expected = tree(wide, joined(seen[0]), loss.margin, loss.tau)
    assert value > 0
    torch.testing.assert_close(value.double(), expected, rtol=rtol, atol=0)
    grads = torch.autograd.grad(value, distances)[0].double(), torch.autograd.grad(expected, wide)[0]
    torch.testing.assert_close(*grads, rtol=rtol, atol=rtol * grads[1].abs().max().item())


def test_distances_that_are_not_numbers_give_a_loss_that_is_none():
    nodes = [torch.tensor([n]) for n in range(3)]
    assert TripletLoss.apply(torch.full((3, 4), torch.nan), *nodes, 0.1, 0.1, torch.Generator()).isnan()


def test_without_neighbours_only_proxy_anchor_remains():
    loss = make("hier", topk=1)
    embeddings, labels = torch.randn(CLASSES, DIM), torch.arange(CLASSES)
    value, _, parameters = call(loss, embeddings, labels)
    assert value.item() == pytest.approx(loss.proxy_anchor(embeddings, labels).item(), rel=1e-5)
    assert all((grad == 0).all() for key, grad in parameters.items() if key.startswith("hierarchy"))


def test_proxies_start_as_the_authors_do():
    loss = make("hier", 50, 64, hierarchy=512)
    assert loss.proxies.std().item() == pytest.approx((2 / 50) ** 0.5, rel=0.05)
    assert loss.hierarchy.points.norm(dim=1).mean().item() == pytest.approx(2.3 * 0.9, rel=0.02)
