"""Forces against distance are those of the losses: known laws, finite differences, and what the scene leaves out."""

import csv
import math

import numpy as np
import pytest
import torch

from pfml.config import load_params
from pfml.forces import CONTEXT, DISTANCES, KINDS, SOURCES, force_curve, force_curves, write_forces
from pfml.losses import LOSSES, build_loss
from pfml.report.style import method_name
from pfml.theory.fields import DecayingLaw, GrowingLaw
from tests.conftest import ROOT

AT = np.array([0.06, 0.15, 0.3, 0.7, 1.25, 1.7])
SETTINGS = {"pfml": {"alpha": 2.0}, "cpml": {"repulsion": "squared_hinge"}}


@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0, 6.0])
def test_pfml_has_the_force_of_equations_1_and_2(alpha):
    """Each pair stands in the sum of Eq. 6 twice."""
    law = DecayingLaw(alpha, 0.2)
    pull = force_curve("pfml", {"alpha": alpha}, "attraction", AT)
    np.testing.assert_allclose(pull, np.where(AT > 0.2, 2 * law.pull(AT), 0), rtol=1e-6, atol=1e-9)
    push = force_curve("pfml", {"alpha": alpha}, "repulsion", AT)
    np.testing.assert_allclose(push, 2 * law.repulsion(AT)[1], rtol=1e-6, atol=1e-9)


def test_cpml_has_the_force_of_equation_8():
    law = GrowingLaw(0.2)
    for kind, slope, sign in (("attraction", law.attraction(AT)[1], 1), ("repulsion", law.repulsion(AT)[1], 1)):
        np.testing.assert_allclose(force_curve("cpml", {}, kind, AT), 2 * sign * slope, rtol=1e-6, atol=1e-9)


def test_a_contrastive_pair_pulls_beyond_its_margin_and_pushes_within():
    settings = {"pos_margin": 0.1, "neg_margin": 0.5}
    np.testing.assert_allclose(force_curve("contrastive", settings, "attraction", AT), [0, 1, 1, 1, 1, 1], atol=1e-9)
    np.testing.assert_allclose(force_curve("contrastive", settings, "repulsion", AT), [-1, -1, -1, 0, 0, 0], atol=1e-9)


def test_a_triplet_pulls_what_is_farther_than_the_negative_less_its_margin():
    found = force_curve(
        "triplet", {"margin": 0.05, "mining": "semihard"}, "attraction", np.array([0.9, 0.94, 0.96, 1.5])
    )
    np.testing.assert_allclose(found, [0, 0, 1, 1], atol=1e-9)


def slope_by_difference(name, kind, distance, step=1e-5):
    """-dL/dd of moving x along the great circle to its source, from values of the loss alone."""
    loss = build_loss(name, 2, 4, **(SETTINGS.get(name, {}) | ({"proxies_per_class": 0} if name in SETTINGS else {})))
    loss.double().miner = None
    angle, side = 2 * math.asin(distance / 2), 2 * math.asin(CONTEXT / 2)
    source = torch.tensor([math.cos(angle), math.sin(angle), 0, 0], dtype=torch.float64)
    aside = torch.tensor([math.cos(side), 0, math.sin(side), 0], dtype=torch.float64)
    pair = (source, aside) if kind == "attraction" else (aside, source)

    @torch.no_grad()
    def value(turn):
        x = torch.tensor([math.cos(turn), math.sin(turn), 0, 0], dtype=torch.float64)
        if SOURCES[name] == "proxy":
            loss.proxies.copy_(torch.stack(pair)[:, None].expand_as(loss.proxies))
            return float(loss(x[None], torch.tensor([0])))
        return float(loss(torch.stack([x, *pair]), torch.tensor([0, 0, 1])))

    away, near = (2 * math.sin((angle - turn) / 2) for turn in (-step, step))
    return (value(-step) - value(step)) / (away - near)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in SOURCES if name != "circle"])  # whose weights have no gradient
def test_every_force_is_the_slope_of_its_loss(name, kind):
    found = force_curve(name, SETTINGS.get(name, {}), kind, AT)
    expected = [slope_by_difference(name, kind, d) for d in AT]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found).max() > 0


def test_what_cannot_be_probed_is_refused():
    assert set(SOURCES) <= set(LOSSES)
    with pytest.raises(ValueError, match=r"name: expected a loss of pairs \(pfml, .*\), found 'histogram'"):
        force_curve("histogram", {}, "attraction", AT)
    with pytest.raises(ValueError, match="kind: expected one of attraction, repulsion, found 'pull'"):
        force_curve("pfml", {}, "pull", AT)
    with pytest.raises(ValueError, match="distances: expected chords"):
        force_curve("pfml", {}, "attraction", np.array([2.0]))


def test_every_loss_of_pairs_in_the_settings_is_drawn_and_written(tmp_path, monkeypatch):
    monkeypatch.setattr("pfml.forces.DISTANCES", AT)
    params = load_params(ROOT / "params.yaml")
    curves = force_curves(params)
    labels = {c.label for c in curves if c.kind == "attraction"}
    alphas = {*params.ablation.alpha, params.loss.alpha}
    assert {f"PFML, α = {a:g}" for a in alphas} | {"CPML"} <= labels
    assert {method_name(m) for m in params.baseline if m in SOURCES} <= labels
    write_forces(curves, tmp_path / "new" / "forces.csv")
    rows = list(csv.DictReader((tmp_path / "new" / "forces.csv").open()))
    assert len(rows) == 2 * len(AT) and len(rows[0]) == 2 + len(curves) / 2
    row = next(r for r in rows if r["kind"] == "attraction" and float(r["distance"]) == 0.7)
    assert float(row["pfml alpha=3"]) == pytest.approx(2 * DecayingLaw(3.0, 0.2).pull(0.7), rel=1e-4)


def test_the_distances_show_both_sides_of_the_radius():
    assert DISTANCES[0] < 0.1 < 0.2 < DISTANCES[-1] < 2 and (np.diff(DISTANCES) > 0).all()
