"""HIER: triplets and choices by hand, value and gradients against loops over the triplets that were drawn."""

import math

import pytest
import torch

from pfml.losses.hier import gumbel_choice
from tests.losses.baseline_cases import CLASSES, DIM, assert_agrees, call, make, random_batch
from tests.losses.test_hyp import moebius_distance

SMALL = {"hierarchy": 7, "triplets": 3, "topk": 6}


def ball(vectors, c, clip):
    """Points of the ball, with the gradient scaled on entry."""
    points = []
    for u in vectors:
        u = u / (u.norm() + 1e-5) * clip if u.norm() + 1e-5 > clip else u
        z = torch.tanh(c**0.5 * u.norm()) * u / (c**0.5 * u.norm())
        factor = (1 - c * (z @ z).detach()) ** 2 / 4
        points.append((z - z.detach()) * factor + z.detach())
    return points


def proxy_anchor(points, proxies, labels, margin, scale):
    present, classes, positive, negative = set(labels.tolist()), len(proxies), 0, 0
    for c in range(classes):
        pull, push = 1, 1
        for z, y in zip(points, labels):
            s = z @ proxies[c, 0] / z.norm() / proxies[c, 0].norm()
            if y == c:
                pull = pull + torch.exp(-scale * (s - margin))
            else:
                push = push + torch.exp(scale * (s + margin))
        if c in present:
            positive = positive + torch.log(pull)
        negative = negative + torch.log(push)
    return positive / len(present) + negative / classes


def tree(judge, distances, near, generator):
    i, j, k = judge.draw_triplets(near, generator)
    total, rows, columns = 0, range(len(i)), range(distances.shape[1])
    noise = [
        -torch.empty(len(i), len(columns), dtype=torch.float64).exponential_(generator=generator).log() for _ in "12"
    ]
    for r in rows:
        d = [distances[node[r]] for node in (i, j, k)]
        pair = torch.stack([max(d[0][m], d[1][m]) for m in columns])
        three = torch.stack([max(pair[m], d[2][m]) for m in columns])
        soft = [torch.softmax(-far / judge.tau + n[r], 0) for far, n in zip((pair, three), noise)]
        low, high = (p.argmax() for p in soft)
        if low == high:
            continue
        at = []  # what each ancestor's distance from each node is, through the soft choice
        for p, chosen in zip(soft, (low, high)):
            weight = torch.eye(len(columns), dtype=p.dtype)[chosen] - p.detach() + p
            at.append([(node * weight).sum() for node in d])
        gaps = at[0][0] - at[1][0], at[0][1] - at[1][1], at[1][2] - at[0][2]
        total = total + sum(torch.relu(gap + judge.margin) for gap in gaps)
    return total / len(i)


def formula(judge, embeddings, labels):
    generator = judge.draws.generator(torch.device("cpu"))
    z, ancestors = (ball(u, judge.c, judge.clip) for u in (embeddings, judge.hierarchy.points))

    def distances(left, right):
        return torch.stack([
            torch.stack([moebius_distance(a, b, judge.c) if a is not b else a.sum() * 0 for b in right]) for a in left
        ])  # fmt: skip

    near = torch.exp(-distances(z, z)).detach() + (labels[:, None] == labels)
    total = tree(judge, distances(z, ancestors), near, generator)
    among = distances(ancestors, ancestors)
    total = total + tree(judge, among, torch.exp(-among).detach(), generator)
    anchor = proxy_anchor(z, judge.proxies, labels, judge.anchor_margin, judge.anchor_scale)
    return judge.lambda1 * anchor + judge.lambda2 * total


@pytest.mark.parametrize("seed", range(4))
def test_value_and_gradients_equal_the_authors_on_the_same_draws(seed):
    loss = make("hier", seed=seed, c=0.2, lambda2=0.7, anchor_scale=8.0, hierarchy_rate=0.5, **SMALL)
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


def test_choices_follow_the_softmax():
    logits = torch.tensor([0.0, 1.0, -1.0]).repeat(20000, 1)
    chosen = gumbel_choice(logits, torch.Generator().manual_seed(0))
    torch.testing.assert_close(chosen.mean(0), logits[0].softmax(0), rtol=0.03, atol=0.01)
    assert torch.equal(chosen.round(), torch.nn.functional.one_hot(chosen.argmax(1), 3).float())


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
