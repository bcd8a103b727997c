"""The list of near pairs never misses one, however the points move, and is searched anew only where it must be."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pfml.losses.common.scratch import Scratch
from pfml.losses.field.neighbours import Neighbours

pytestmark = pytest.mark.usefixtures("small_lists")


def near_pairs(x, classes, radius):
    """All pairs of different classes closer than the radius, by looking at every pair."""
    i, j = torch.triu_indices(len(x), len(x), 1)
    near = ((x[i] - x[j]).norm(dim=1) < radius) & (classes[i] != classes[j])
    return set(zip(i[near].tolist(), j[near].tolist()))


def cloud(points, dim, classes, seed, spread=1.0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(points, dim, generator=g, dtype=torch.float64) * spread / dim**0.5
    return x, torch.arange(points) % classes, g


def listed(neighbours, x, classes, radius, scale=2.0):
    pairs = neighbours.pairs(x.float(), classes, radius, scale)
    assert pairs is not None
    i, j = pairs
    found = [tuple(sorted(pair)) for pair in zip(i.tolist(), j.tolist())]
    assert len(found) == len(set(found)), "a pair is listed twice"
    assert not (classes[i] == classes[j]).any()
    return set(found)


@settings(max_examples=60, deadline=None)
@given(
    points=st.integers(2, 40),
    dim=st.sampled_from([2, 3, 8, 20]),
    classes=st.integers(1, 12),
    step=st.sampled_from([0.0, 1e-4, 0.01, 0.05, 0.3]),
    share=st.sampled_from([0.05, 0.5, 1.0]),
    spread=st.sampled_from([0.3, 1.0, 3.0]),
    seed=st.integers(0, 10**6),
)
def test_no_near_pair_is_missed_on_a_walk(points, dim, classes, step, share, spread, seed):
    x, labels, g = cloud(points, dim, classes, seed, spread)
    neighbours, radius = Neighbours(Scratch()), 0.3
    neighbours.per_point, neighbours.worth = points, 10**9
    for _ in range(12):
        assert near_pairs(x, labels, radius) <= listed(neighbours, x, labels, radius, float(x.norm(dim=1).max()))
        moving = torch.rand(points, 1, generator=g) < share
        x = x + step * moving * torch.randn(points, dim, generator=g)


@pytest.mark.parametrize("dim", [3, 20])
@pytest.mark.parametrize("offset", [-2e-4, -1e-7, 0.0, 1e-7])
@pytest.mark.parametrize("way", [0.2, 0.49, 0.4998, 0.501, 0.7])
def test_a_pair_on_the_edge_of_the_list(way, offset, dim):
    """Points radius + skin apart, a hair more or less, that move towards each other by a share of the skin each."""
    radius = skin = 0.25
    x = torch.zeros(12, dim, dtype=torch.float64)
    x[:, 1] = 2.0 * torch.arange(12)  # the others are far away
    x[1] = x[0]
    x[1, 2] += radius + skin + offset
    classes, neighbours = torch.arange(12), Neighbours(Scratch())
    listed(neighbours, x, classes, radius, scale=1.0)
    x[0, 2] += way * skin
    x[1, 2] -= way * skin
    assert near_pairs(x, classes, radius) <= listed(neighbours, x, classes, radius, scale=1.0)


def test_many_movers_are_looked_at_with_all_others():
    x, labels, _ = cloud(60, 20, 60, seed=1, spread=3.0)
    neighbours = Neighbours(Scratch())
    listed(neighbours, x, labels, 0.3, scale=6.0)
    x[40:] = x[:20].flip(0) + 0.01  # more rows than a tile has, near columns of the first tiles
    assert {(k, 59 - k) for k in range(20)} <= listed(neighbours, x, labels, 0.3, scale=6.0)


def test_points_that_stay_cost_no_search(searches):
    x, labels, g = cloud(40, 20, 10, seed=1)
    neighbours = Neighbours(Scratch())
    listed(neighbours, x, labels, 0.3)
    for _ in range(20):
        x = x + 1e-4 * torch.randn(40, 20, generator=g)
        listed(neighbours, x, labels, 0.3)
    assert searches == [40]


def test_who_moves_is_looked_at_alone(searches):
    x, labels, _ = cloud(40, 20, 10, seed=1)
    neighbours = Neighbours(Scratch())
    listed(neighbours, x, labels, 0.3)
    x[7], x[9] = x[12] + 0.01, x[8] + 0.01  # classes 7 and 2, 9 and 8
    assert {(7, 12), (8, 9)} <= listed(neighbours, x, labels, 0.3)
    assert searches == [40, 2]
    x[7] += 5
    assert (7, 12) not in listed(neighbours, x, labels, 0.3), "who has left is dropped"
    assert searches == [40, 2, 1]
    x += 5  # all of them: one search of all
    x[::2] -= 10
    listed(neighbours, x, labels, 0.3, scale=40.0)
    assert searches[-1] == 40


def test_listed_pairs_that_stay_apart_are_not_looked_at():
    x = torch.zeros(3, 8, dtype=torch.float64)
    x[1, 0], x[2, 1] = 0.45, 0.25  # with radius 0.3: listed both, the second alone inside
    assert listed(Neighbours(Scratch()), x, torch.tensor([0, 1, 2]), 0.3) == {(0, 2)}


def test_a_crowd_has_no_list_and_is_asked_again_later(searches):
    x, labels, _ = cloud(40, 20, 10, seed=1, spread=0.1)
    neighbours = Neighbours(Scratch())
    neighbours.per_point, neighbours.pause = 3, 4
    assert neighbours.pairs(x.float(), labels, 0.3, 1.0) is None
    tried = len(searches)
    assert tried == len(Neighbours.skins)
    x = 10 * x  # they come apart, and are seen when the pause is over
    for _ in range(4):
        assert neighbours.pairs(x.float(), labels, 0.3, 1.0) is None
    assert len(searches) == tried
    assert near_pairs(x, labels, 0.3) <= listed(neighbours, x, labels, 0.3)


def test_a_list_is_never_longer_than_it_may_be():
    x, classes = 10.0 * torch.arange(18)[:, None] * torch.ones(1, 20, dtype=torch.float64), torch.arange(18)
    x[9:], classes[9:] = x[0] + 0.01, 9  # nine pairs, of the first point and each of the last nine
    neighbours = Neighbours(Scratch())
    neighbours.per_point = 0.5
    assert len(listed(neighbours, x, classes, 0.3, scale=1.0)) == 9
    neighbours.forget()
    neighbours.per_point = 0.4
    assert neighbours.pairs(x.float(), classes, 0.3, 1.0) is None


def test_points_in_fast_motion_get_no_list(searches):
    """A search in every step would cost more than the product that it saves; with little to do in it, less."""
    for dim, most in ((6, 12), (200, 30)):
        x, labels, g = cloud(40, dim, 40, seed=1, spread=3.0)
        neighbours, steps = Neighbours(Scratch()), 0
        searches.clear()
        for _ in range(30):
            steps += neighbours.pairs(x.float(), labels, 0.3, 10.0) is not None
            x = x + torch.randn(40, dim, generator=g)
        assert len(searches) <= most
        assert steps <= most
    assert steps == 30


def test_a_list_that_grows_too_long_is_given_up():
    x, labels, _ = cloud(60, 20, 20, seed=1, spread=3.0)
    neighbours = Neighbours(Scratch())
    neighbours.per_point = 4
    listed(neighbours, x, labels, 0.3)
    for k in range(29):  # one after the other comes to the same spot
        x[k] = x[59] + 0.001 * k
        found = neighbours.pairs(x.float(), labels, 0.3, 4.0)
        if found is None:
            break
        assert near_pairs(x, labels, 0.3) <= {tuple(sorted(p)) for p in zip(*(t.tolist() for t in found))}
    else:
        raise AssertionError("29 points on one spot have more than 240 pairs")


@pytest.mark.parametrize("change", ["classes", "radius", "points", "scale"])
def test_another_question_starts_anew(change, searches):
    x, labels, _ = cloud(40, 20, 10, seed=1)
    neighbours, radius, scale = Neighbours(Scratch()), 0.3, 1.0
    neighbours.per_point = 40
    listed(neighbours, x, labels, radius, scale)
    if change == "classes":
        labels = labels.flip(0)
    elif change == "radius":
        radius = 0.6
    elif change == "points":
        x, labels = x[:30], labels[:30]
    else:
        scale = 50.0
    assert near_pairs(x, labels, radius) <= listed(neighbours, x, labels, radius, scale)
    assert searches == [40, len(x)]


def test_points_too_far_out_for_float32_have_no_list():
    x, labels, _ = cloud(40, 20, 10, seed=1)
    assert Neighbours(Scratch()).pairs(x.float(), labels, 0.3, 1e4) is None


def test_the_list_stays_linear_in_the_number_of_points():
    longest = {}
    for points in (200, 800):
        x, labels, _ = cloud(points, 3, points // 4, seed=0, spread=0.2)
        neighbours = Neighbours(Scratch())
        neighbours.per_point = 8
        assert neighbours.pairs(x.float(), labels, 0.3, 1.0) is None, "more than 8 near pairs a point"
        x = x * (points / 4) ** (1 / 3)
        neighbours.forget()
        neighbours.per_point = 64
        listed(neighbours, x, labels, 0.1)
        longest[points] = len(neighbours.i)
    assert 0 < longest[800] < 64 * 800


@pytest.mark.parametrize("first", [True, False])
def test_a_step_that_is_interrupted_leaves_no_half_list(first, monkeypatch):
    """Ctrl-C in a notebook, or too little memory, and the next step is right."""
    x, labels, _ = cloud(40, 20, 10, seed=1)
    neighbours, search = Neighbours(Scratch()), Neighbours._search
    if not first:
        listed(neighbours, x, labels, 0.3)
        x[7] = x[12] + 0.01

    def interrupted(self, *rest, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Neighbours, "_search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        neighbours.pairs(x.float(), labels, 0.3, 2.0)
    monkeypatch.setattr(Neighbours, "_search", search)
    assert near_pairs(x, labels, 0.3) <= listed(neighbours, x, labels, 0.3)
