"""Every loss of the catalogue that trains, with its settings and its oracle; what it draws at random is recorded.

A formula is called as formula(loss, embeddings, labels, drawn): `loss` in float64, whose parameters it reads, and
`drawn`, what the loss drew when it saw the batch.
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

import torch

from pfml.losses.baselines import dcml_mdw, diva
from tests.losses.baseline_cases import rows
from tests.oracles import clustering, flow, histograms, hyperbolic, hypergraph, memory, pairs, proxies, triplets
from tests.oracles import field as fields
from tests.oracles import several_heads as heads


def plain(loss, embeddings, labels):
    """A step of a loss."""
    return loss(embeddings, labels)


@contextmanager
def nothing(loss):
    yield []


@dataclass(frozen=True, eq=False)
class Method:
    """settings: of the loss, beside its defaults. prepare: changes its parameters. run: what is compared, of a loss in
    its precision. record: a context in which the loss runs, with what it draws."""

    name: str
    formula: Callable
    settings: dict = field(default_factory=dict)
    prepare: Callable = lambda loss: None
    run: Callable = plain
    record: Callable = nothing
    label: str = ""


# --- What a loss draws


@contextmanager
def mined(loss):
    """The triplets of the miner."""
    seen = []
    handle = loss.miner.register_forward_hook(lambda module, args, found: seen.append(found))
    yield seen
    handle.remove()


@contextmanager
def uniform_numbers(loss):
    """Those of torch.rand."""
    seen, rand = [], torch.rand

    def recorded(*args, **options):
        seen.append(rand(*args, **options))
        return seen[-1]

    with patch("torch.rand", recorded):
        yield seen


@contextmanager
def hierarchies(loss):
    """Of each of the two trees its triplets, its choices and its exponential numbers."""
    from pfml.losses.baselines import hier

    seen, draw, choose, exponentials = [], loss.draw_triplets, hier.choose, hier.exponentials

    def triplets(*args):
        seen.append({"triplets": draw(*args), "chosen": [], "clocks": []})
        return seen[-1]["triplets"]

    def choice(*args):
        seen[-1]["chosen"].append(choose(*args))
        return seen[-1]["chosen"][-1]

    def clocks(*args):
        seen[-1]["clocks"].append(exponentials(*args))
        return seen[-1]["clocks"][-1].clone()

    with (
        patch.object(loss, "draw_triplets", triplets), patch.object(hier, "choose", choice),
        patch.object(hier, "exponentials", clocks),
    ):  # fmt: skip
        yield seen


def triplets_of(module):
    """Those that the functions of a module draw."""

    @contextmanager
    def record(loss):
        seen, patches = [], []
        for name in ("distance_weighted", "within_classes"):
            if hasattr(module, name):
                patches.append(patch.object(module, name, noted(getattr(module, name), seen)))
        for one in patches:
            one.start()
        yield seen
        for one in patches:
            one.stop()

    return record


def noted(function, seen):
    def call(*args):
        seen.append(function(*args))
        return seen[-1]

    return call


# --- Formulas


def of_pairs(formula, **settings):
    return lambda loss, x, y, drawn: formula(x, y, **settings)


def of_proxies(formula, **settings):
    return lambda loss, x, y, drawn: formula(x, y, loss.proxies[:, 0], **settings)


def of_centres(formula, **settings):
    return lambda loss, x, y, drawn: formula(x, y, loss.proxies, **settings)


def of_field(law):
    return lambda loss, x, y, drawn: fields.energy(x, y, loss.proxies, law)


def margin(loss, x, y, drawn, margin, nu):
    triples = torch.stack(list(drawn[0])).T.tolist()
    return triplets.margin_of(x, y, triples, loss.loss.beta, margin, nu)


def of_margin(**settings):
    return lambda loss, x, y, drawn: margin(loss, x, y, drawn, **settings)


HIER = {
    "margin": 0.1, "tau": 0.1, "c": 0.1, "clip": 2.3, "lambda1": 1.0, "lambda2": 0.5, "anchor_margin": 0.1,
    "anchor_scale": 32.0,
}  # fmt: skip


def joined(one):
    """What `hierarchies` recorded of a tree, whose triplets the loss may have taken in several pieces."""
    low, high = (torch.cat([one["triplets"][0][:0], *one["chosen"][first::2]]) for first in (0, 1))
    clocks = torch.cat(one["clocks"], 1).double() if one["clocks"] else torch.empty(2, 0, 0)
    return {"triplets": one["triplets"], "low": low, "high": high, "clocks": clocks}


def hier(loss, x, y, drawn, settings=HIER):
    trees = [joined(one) for one in drawn]
    return hyperbolic.hier(x, y, loss.proxies[:, 0], loss.hierarchy.points, trees, **settings)


def hist(loss, x, y, drawn, **settings):
    return hypergraph.hist(x, y, loss.means, loss.log_vars, loss.hgnn, **settings)


def both_ends_of_relu6(loss):
    loss.log_vars.mul_(8 / loss.log_vars.std())


def pa_niv(loss, x, y, drawn, **settings):
    return flow.pa_niv(x, y, loss.proxies[:, 0], loss.flow, **settings)


def bent(loss):
    """A flow whose weights are far from their start, where it hardly bends."""
    for parameter in loss.flow.parameters():
        parameter.mul_(1.5)


def stream(embeddings):
    """Five batches from one, so that all but the first find a memory, and the last two a threshold."""
    return [embeddings + 0.2 * step * embeddings.roll(step, 0) for step in range(5)]


def five_steps(loss, embeddings, labels):
    return sum(loss(batch, labels) for batch in stream(embeddings))


PRISM = {"noise_rate": 0.3, "memory": 50, "window": 2, "margin": 0.1}


def prism(loss, x, y, drawn):
    oracle = memory.Prism(*loss.sizes, **PRISM)
    return sum(oracle.step(batch, y) for batch in stream(x))


DAS = {
    "alpha": 2.0, "beta": 40.0, "base": 0.5, "epsilon": 0.1, "scaled": 4, "scale_low": 0.5, "scale_high": 2.0,
    "bank": 5, "shift_scale": 0.1, "detach": False,
}  # fmt: skip


def ms_das(loss, x, y, drawn):
    return memory.first_das_step(x, y, drawn, **DAS)


def of_rows(loss, embeddings, labels):
    """A step of a loss with rows from a head of its own."""
    return loss(rows(loss, embeddings), labels)


DIVA = {"margin": 0.2, "temperature": 0.05, "cutoff": 0.5, "upper_cutoff": 1.4, "separation": 30.0}
DIVA_WEIGHTS = {"self_weight": 0.3, "shared_weight": 0.4, "intra_weight": 0.5}


def keys_of(embeddings):
    """Keys of another view."""
    quarter = embeddings.detach().chunk(4, 1)[1]
    return quarter + 0.3 * quarter.roll(1, 1)


def remembering(loss):
    loss.remember(torch.randn(loss.memory.shape, generator=torch.Generator().manual_seed(1)))


def with_keys(loss, embeddings, labels):
    return loss(embeddings, labels, keys_of(embeddings))


def diva_formula(loss, x, y, drawn):
    return heads.diva(loss, x, y, keys_of(x), drawn, weights=list(DIVA_WEIGHTS.values()), **DIVA)


DRML = {"margin": 0.2, "scale": 20.0, "whole": 3.0, "rebuild": 0.5}


def of_reading(reading):
    settings = {"reading": reading, "margin": 0.2}
    return Method(
        "dcml_mdw", lambda loss, x, y, drawn: heads.dcml(loss, rows(loss, x), y, drawn, **settings), settings,
        run=of_rows, record=triplets_of(dcml_mdw), label=reading,
    )  # fmt: skip


def margins_of_a_tree(loss):
    loss.margins.copy_(torch.rand(loss.margins.shape, generator=torch.Generator().manual_seed(2)))


def same(name, formula, bind=of_pairs, label="", **settings):
    """A loss whose oracle takes the settings by the same names."""
    return Method(name, bind(formula, **settings), settings, label=label)


METHODS = [
    Method("pfml", of_field(fields.power_law(3.0, 0.2, 1.3)), {"proxies_per_class": 2, "delta_rep": 1.3}),
    Method("cpml", of_field(fields.quadratic_law("squared_hinge", 0.2, 1.3)),
           {"proxies_per_class": 2, "delta_rep": 1.3}),
    same("proxy_anchor", proxies.proxy_anchor, of_proxies, margin=0.1, scale=32.0),
    same("proxy_nca", proxies.proxy_nca, of_proxies, scale=3.0),
    same("soft_triple", proxies.soft_triple, of_centres, scale=20.0, gamma=0.1, margin=0.01, tau=0.2),
    same("multi_similarity", pairs.multi_similarity, alpha=2.0, beta=50.0, base=0.5, epsilon=0.1),
    Method("multi_similarity_unmined", of_pairs(pairs.multi_similarity, alpha=2.0, beta=50.0, base=0.5, epsilon=None)),
    same("triplet", triplets.triplet, label="semihard", margin=0.2, mining="semihard"),
    same("triplet", triplets.triplet, label="tensorflow", margin=1.0, mining="tensorflow"),
    same("contrastive", pairs.contrastive, pos_margin=0.0, neg_margin=0.5),
    Method("hist", lambda *a: hist(*a, tau=32.0, alpha=0.9, lambda_s=1.0), {"hidden": 12}, both_ends_of_relu6),
    same("hyp", hyperbolic.hyp, c=0.1, temperature=0.2, clip=2.3),
    Method("hier", hier, HIER | {"hierarchy": 10, "topk": 6, "triplets": 2}, record=hierarchies),
    same("n_pair", pairs.n_pair, l2=0.01, normalize=False),
    Method("margin", of_margin(margin=0.2, nu=0.1), {"nu": 0.1}, record=mined),
    Method("margin_per_class", of_margin(margin=0.2, nu=0.1), {"nu": 0.1}, record=mined),
    Method("cosface", of_centres(proxies.class_weights, kind="cosface", margin=0.35, scale=64.0)),
    Method("normalized_softmax", of_centres(proxies.class_weights, kind="plain", margin=0.0, scale=20.0)),
    Method("arcface", of_centres(proxies.class_weights, kind="arcface", margin=28.6, scale=64.0)),
    Method("sub_center_arcface", of_centres(proxies.class_weights, kind="arcface", margin=28.6, scale=64.0)),
    same("fast_ap", histograms.fast_ap, bins=10),
    same("snr", pairs.snr, pos_margin=0.0, neg_margin=1.0, zero_mean=0.005),
    same("circle", pairs.circle, margin=0.4, scale=80.0),
    same("lifted_structure", pairs.lifted_structure, margin=1.0, normalize=False, l2=0.005),
    same("histogram", histograms.histogram, bins=150),
    Method("proxy_nca_pp", of_proxies(proxies.proxy_nca, scale=9.0)),
    same("esphn", triplets.easy_positive, temperature=0.1, mining="semihard"),
    Method("prism", prism, PRISM, run=five_steps),
    Method("ms_das", ms_das, DAS | {"produced": 2}, record=uniform_numbers),
    same("proxy_gml", proxies.proxy_gml, of_centres, ratio=0.2, weight=0.3),
    same("clustering", clustering.clustering, gamma=20.0, rounds=5),
    Method("pa_niv", lambda *a: pa_niv(*a, weight=0.01, margin=0.1, scale=32.0, clamp=2.0),
           {"blocks": 2, "depth": 3, "width": 16}, bent),
    Method("diva", diva_formula, DIVA | DIVA_WEIGHTS | {"memory": 12}, remembering, with_keys, triplets_of(diva)),
    Method("drml_pa", lambda loss, x, y, drawn: heads.drml(loss, rows(loss, x), y, **DRML), DRML, run=of_rows),
    of_reading("composites"),
    of_reading("ensemble"),
    Method("htl", lambda loss, x, y, drawn: heads.htl(x, y, loss.margins.double()), {}, margins_of_a_tree),
]  # fmt: skip
