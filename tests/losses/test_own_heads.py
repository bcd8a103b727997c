"""Heads that belong to a method, image by image; and HTL's tree."""

import math

import pytest
import torch
import torch.nn.functional as F

from pfml.losses.baselines import dcml_mdw, diva, drml_pa, htl
from pfml.losses.common.triplets import margin_energy, within_classes


def in_both_modes(head, features):
    """Rows, and embeddings."""
    return head.train()(features), head.eval()(features)


def made(kind, features=8, dim=8, **settings):
    torch.manual_seed(0)
    head = kind(features, dim, settings).double()
    return head, torch.randn(5, features, dtype=torch.float64)


def test_diva_joins_four_unit_parts():
    head, features = made(diva.Heads, test_weight=0.5)
    rows, embeddings = in_both_modes(head, features)
    for x, row, embedding in zip(features, rows, embeddings):
        parts = [linear(x) for linear in head.parts]
        assert torch.equal(row, torch.cat(parts))
        first, *others = (part / part.norm() for part in parts)
        torch.testing.assert_close(embedding, torch.cat([0.5 * first, *others]))


@pytest.mark.parametrize("reading", ["composites", "ensemble"])
def test_dcml_composes_its_parts(reading):
    head, features = made(dcml_mdw.Composites, reading=reading)
    rows, embeddings = in_both_modes(head, features)
    for x, row, embedding in zip(features, rows, embeddings):
        parts = [linear(x) for linear in head.parts]
        joined, reinforced, composites = torch.cat(parts), 0, []
        for compositor in head.compositors:
            p = torch.softmax(compositor(joined), 0)
            composites.append(sum(weight * part for weight, part in zip(p, parts)))
            reinforced = reinforced - torch.log(p.max())
        torch.testing.assert_close(row, torch.cat([*composites, joined, reinforced[None]]))
        torch.testing.assert_close(embedding, torch.cat(composites) if reading == "composites" else joined)


def test_the_own_term_of_dcml_trains_its_compositors_alone():
    head, features = made(dcml_mdw.Composites, reading="composites")
    head.train()(features)[:, -1].mean().backward()
    assert all(linear.weight.grad is None or not linear.weight.grad.any() for linear in head.parts)
    assert all(compositor.weight.grad.any() for compositor in head.compositors)


@pytest.mark.parametrize("paper", [False, True])
def test_drml_joins_each_node_with_what_the_others_send(paper):
    head, features = made(drml_pa.Relations, paper=paper)
    torch.nn.init.normal_(head.integrator.weight)
    rows, embeddings = in_both_modes(head, features)
    for x, row, embedding in zip(features, rows, embeddings):
        pieces = [x] * 4 if paper else list(x.chunk(4))
        nodes = [F.normalize(linear(f), dim=0) for linear, f in zip(head.nodes, pieces)]
        a, b = ([linear(f) for linear, f in zip(ends, pieces)] for ends in (head.sources, head.targets))
        errors = [decoder(v) - f for decoder, v, f in zip(head.decoders, nodes, pieces)]
        errors = torch.stack([e.norm() if paper else e.square().mean() for e in errors])
        outputs = []
        for j in range(4):
            scores = [torch.relu(head.score(a[j] - b[i] if paper else a[i] - b[j]))[0] for i in range(4)]
            total = max(sum(scores), torch.tensor(1e-12, dtype=torch.float64))
            sent = sum(score / total * node for score, node in zip(scores, nodes))
            outputs.append(head.integrator(torch.cat([nodes[j], sent])))
        z = torch.cat(outputs)
        expected = torch.cat([z, *nodes, errors.mean()[None], errors.argmin()[None].double()])
        torch.testing.assert_close(row, expected)
        torch.testing.assert_close(embedding, z)


@pytest.mark.parametrize("paper", [False, True])
def test_what_trains_which_part_of_drml(paper):
    head, features = made(drml_pa.Relations, paper=paper)
    torch.nn.init.normal_(head.integrator.weight)  # which starts without messages
    features.requires_grad_()

    def reached(columns):
        head.zero_grad()
        features.grad = None
        head.train()(features)[:, columns].sum().backward()
        of = {name.split(".")[0] for name, p in head.named_parameters() if p.grad is not None and p.grad.any()}
        return of, features.grad is not None and bool(features.grad.any())

    assert reached(slice(16, 17)) == ({"decoders"}, False), "the error trains the decoders alone"
    of, trunk = reached(slice(0, 8))
    assert trunk != paper and ("nodes" in of) != paper and {"integrator", "score", "sources", "targets"} <= of
    assert reached(slice(8, 16)) == ({"nodes"}, True)


def test_the_integrator_of_drml_starts_with_the_node():
    head, features = made(drml_pa.Relations, paper=False)
    rows = head.train()(features)
    torch.testing.assert_close(rows[:, :8], rows[:, 8:16])


def test_a_triplet_of_the_margin_loss_by_hand():
    """Anchor (1, 0), positive (0, 1), negative (0.6, 0.8): distances sqrt 2 and sqrt 0.8."""
    units = torch.tensor([[1.0, 0], [0, 1], [0.6, 0.8]], dtype=torch.float64)
    triplets = tuple(torch.tensor([i]) for i in range(3))
    beta = torch.full((3,), 1.2, dtype=torch.float64)
    expected = (math.sqrt(2) - 1.2 + 0.2 + 1.2 - math.sqrt(0.8) + 0.2) / 2
    assert margin_energy(units, triplets, beta).item() == pytest.approx(expected, abs=1e-7)
    far = torch.full((3,), 0.5, dtype=torch.float64)
    assert margin_energy(units, triplets, far).item() == pytest.approx(math.sqrt(2) - 0.3, abs=1e-7), "one term is left"


def test_triplets_within_classes_stay_there():
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    a, p, n = within_classes(labels, torch.Generator().manual_seed(0))
    assert len(a) == 6 and torch.equal(labels[a], labels[p]) and torch.equal(labels[a], labels[n])


def test_drml_by_hand():
    """One image of class 0 at its proxies, the other class's proxies opposite, margin 0, scale 1."""
    loss = drml_pa.DRML(2, 4, margin=0.0, scale=1.0, whole=2.0, rebuild=0.5)
    with torch.no_grad():
        loss.proxies.copy_(torch.tensor([[[1.0, 1, 1, 1]], [[-1.0, -1, -1, -1]]]))
        loss.node_proxies.copy_(torch.tensor([1.0, -1.0])[None, :, None].expand(4, 2, 1))
    rows = torch.tensor([[1.0, 1, 1, 1, 1, 1, 1, 1, 0.3, 2]])
    anchor = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-1)) / 2  # the push of class 0 has no image
    assert loss(rows, torch.tensor([0])).item() == pytest.approx(3 * anchor + 0.15, rel=1e-6)


def test_htl_by_hand():
    """d(a, p) is 2, d(a, n) is 0.8 for one anchor and 0.4 for the other; margin 0.2; two triplets."""
    loss = htl.HTL(2, 2, first_margin=0.2)
    embeddings = torch.tensor([[1.0, 0], [0, 1], [0.6, 0.8]])
    value = loss(embeddings, torch.tensor([0, 0, 1])).item()
    assert value == pytest.approx(((2 - 0.8 + 0.2) + (2 - 0.4 + 0.2)) / 4, rel=1e-6)


def test_class_distances_are_means_over_pairs_of_images():
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 0, 1, 1, 3])
    embeddings = torch.randn(6, 4, generator=generator)
    x = F.normalize(embeddings.double(), dim=1)
    between, within = htl.class_distances(embeddings, labels, 4)
    squared = torch.cdist(x, x).square()
    for p in (0, 1, 3):
        for q in (0, 1, 3):
            if p != q:
                assert between[p, q].item() == pytest.approx(squared[labels == p][:, labels == q].mean().item())
    own = squared[:3, :3].sum() / 6
    assert within.tolist() == pytest.approx([own.item(), squared[3, 4].item(), 0.0, 0.0])
    assert (between[2] == 4).all(), "a class without images is far from all"


def test_classes_merge_at_the_first_threshold_above_their_mean_distance():
    """Thresholds 1, 1.5, 2 ... 4. Classes 0 and 1 are 1.2 apart and merge at 1.5; 2 is 1.6 and 2.0 from them, 1.8 in
    the mean, and merges at 2; 3 is 3.9 from all.
    """
    between = torch.tensor([[0, 1.2, 1.6, 3.9], [1.2, 0, 2.0, 3.9], [1.6, 2.0, 0, 3.9], [3.9, 3.9, 3.9, 0]])
    expected = torch.tensor([[0, 1.5, 2.0, 4.0], [1.5, 0, 2.0, 4.0], [2.0, 2.0, 0, 4.0], [4.0, 4.0, 4.0, 0]])
    torch.testing.assert_close(htl.merging_heights(between.double(), 6, 1.0), expected.double())
    near = torch.tensor([[0, 0.1], [0.1, 0]]).double()
    assert htl.merging_heights(near, 6, 1.0)[0, 1] == 1.5, "level 0 is each class alone"


def test_the_margin_of_htl_is_that_of_the_tree():
    loss = htl.HTL(3, 2, margin=0.1, levels=6, together=3)
    angles = torch.tensor([0.0, 0.2, 1.0, 1.2, 3.0, 3.2])
    embeddings, labels = torch.stack([angles.cos(), angles.sin()], 1), torch.arange(6) // 2
    loss.look(1, embeddings, labels)
    between, within = htl.class_distances(embeddings, labels, 3)
    heights = htl.merging_heights(between, 6, within.mean().item())
    for a in range(3):
        for n in range(3):
            if a != n:
                wanted = 0.1 + heights[a, n] - within[a]
                assert loss.margins[a, n].item() == pytest.approx(wanted.item(), rel=1e-6)
    assert loss.nearest.tolist() == [[0, 1, 2], [1, 0, 2], [2, 1, 0]]
    again = htl.HTL(3, 2)
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again.nearest, loss.nearest)
