"""Forces against distance are those of the losses: known laws, finite differences, and what the scene leaves out."""

import csv
import math

import numpy as np
import pytest
import torch

from pfml.figures.force import (
    AXES,
    CHANGES,
    CONTEXT,
    DISTANCES,
    KINDS,
    LEFT_OUT,
    drawn,
    force_curve,
    force_curves,
    force_figure,
    not_drawn,
    write_forces,
)
from pfml.losses import LOSSES, build_loss
from pfml.report.names import method_name
from pfml.settings.load import load_params
from pfml.settings.planning import plan_files
from pfml.theory.fields import DecayingLaw, GrowingLaw
from tests.conftest import ROOT

AT = np.array([0.06, 0.15, 0.3, 0.7, 1.25, 1.7])
SETTINGS = {"pfml": {"alpha": 2.0}, "ms_das": {"detach": False, "shift_scale": 0.0}}  # copies that move as x does


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


@pytest.mark.parametrize("name, settings", [("proxy_nca_pp", {"temperature": 0.25}), ("hist", {"tau": 4.0})])
def test_two_losses_are_proxy_nca_at_another_scale(name, settings):
    """Of HIST what is shown of it."""
    for kind in KINDS:
        found = force_curve(name, settings, kind, AT)
        np.testing.assert_allclose(found, force_curve("proxy_nca", {"scale": 4.0}, kind, AT), rtol=1e-6)


def test_ms_das_pulls_as_multi_similarity_does_without_mining():
    """Without made embeddings; its mean is over the two anchors that have a positive, not over all three."""
    expected = 1.5 * force_curve("multi_similarity", {}, "attraction", AT)
    np.testing.assert_allclose(force_curve("ms_das", {"produced": 0}, "attraction", AT), expected, rtol=1e-6)


def test_the_forces_of_snr_and_prism_are_straight_lines():
    """d^2 and (of six ordered pairs of three images) 2 * (1 - cos) / 3, both up to a margin."""
    inside = AT < 1
    np.testing.assert_allclose(force_curve("snr", {}, "attraction", AT), 2 * AT)
    np.testing.assert_allclose(force_curve("snr", {}, "repulsion", AT), np.where(inside, -2 * AT, 0), atol=1e-12)
    np.testing.assert_allclose(force_curve("prism", {}, "attraction", AT), 2 * AT / 3)
    np.testing.assert_allclose(force_curve("prism", {}, "repulsion", AT), np.where(inside, -2 * AT / 3, 0), atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_clustering_pulls_and_pushes_evenly_within_its_margin(gamma):
    """Right and wrong both leave one of three images alone: distance 1 against d, and the NMI of 0 0 1 and 0 1 1."""
    wrong = (math.log(3) - 4 / 3 * math.log(2)) / (math.log(3) - 2 / 3 * math.log(2))
    margin = gamma * (1 - wrong)
    pull = force_curve("clustering", {"gamma": gamma}, "attraction", AT)
    np.testing.assert_allclose(pull, np.where(AT + margin > 1, 1, 0), atol=1e-9)
    push = force_curve("clustering", {"gamma": gamma}, "repulsion", AT)
    np.testing.assert_allclose(push, np.where(AT - margin < 1, -1, 0), atol=1e-9)


@pytest.mark.parametrize(
    "name, settings, like",
    [
        ("margin_per_class", {}, "margin"),
        ("sub_center_arcface", {"centers_per_class": 3}, "arcface"),
        ("hier", {}, "proxy_anchor"),
        ("pa_niv", {}, "proxy_anchor"),
    ],
)
def test_some_losses_have_the_curve_of_another(name, settings, like):
    for kind in KINDS:
        found, other = force_curve(name, settings, kind, AT), force_curve(like, {}, kind, AT)
        np.testing.assert_allclose(found / np.abs(found).max(), other / np.abs(other).max(), rtol=1e-6, atol=1e-9)


def test_what_the_scene_changes_of_a_loss_does_not_change_its_force(monkeypatch):
    """HIER's hierarchy of any size is silent; ProxyGML keeps of 40 classes the nearest other one's proxies."""
    expected = force_curve("hier", {}, "attraction", AT[:2])
    monkeypatch.setitem(CHANGES, "hier", {"hierarchy": 20})
    np.testing.assert_array_equal(force_curve("hier", {}, "attraction", AT[:2]), expected)

    loss = build_loss("proxy_gml", 40, 8, ratio=0.05).double()
    points, angle = places(AT[3])
    with torch.no_grad():
        loss.proxies[:] = torch.stack([points[1], points[2], *38 * [-points[0]]])[:, None]
    x = points[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(x[None], torch.tensor([0])), x)
    along = (points[1] - math.cos(angle) * points[0]) / math.sin(angle)
    expected = -float(slope @ along) / math.cos(angle / 2)
    assert force_curve("proxy_gml", {}, "attraction", AT[3:4])[0] == pytest.approx(expected, rel=1e-6)


def places(distance, turn=0.0):
    """x turned towards its source, the source, and two points at distance CONTEXT; and the angle of the source."""
    angle, side = 2 * math.asin(distance / 2), 2 * math.asin(CONTEXT / 2)
    flat = [(math.cos(turn), math.sin(turn)), (math.cos(angle), math.sin(angle))]
    flat += [(math.cos(side), 0, math.sin(side)), (math.cos(side), 0, 0, math.sin(side))]
    return torch.stack([sum(c * axis for c, axis in zip(point, AXES)) for point in flat]), angle


def slope_by_difference(name, kind, distance, step=1e-5):
    """-dL/dd of moving x along the great circle to its source, from values of the loss alone."""
    proxies = LOSSES[name].acts == "proxy"

    @torch.no_grad()
    def value(turn):
        torch.manual_seed(0)  # of the draws of MS + DAS
        loss = build_loss(name, 2, 8, **SETTINGS.get(name, {}) | CHANGES.get(name, {})).double()
        loss.miner = None
        x, source, *aside = places(distance, turn)[0]
        aside = aside[: 2 if name in ("n_pair", "hyp") else 1]
        rest = [source, *aside] if kind == "attraction" else [*aside, source]
        if name == "hist":
            loss.log_vars.zero_()
        if proxies:
            loss.proxies.copy_(torch.stack(rest)[:, None].expand_as(loss.proxies))
            images = 2 if name == "hist" else 1
            return float(loss(x.expand(images, -1), torch.zeros(images, dtype=torch.long)))
        return float(loss(torch.stack([x, *rest]), torch.tensor([0, 0, 1, 1])[: 1 + len(rest)]))

    angle = places(distance)[1]
    away, near = (2 * math.sin((angle - turn) / 2) for turn in (-step, step))
    return (value(-step) - value(step)) / (away - near)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", [name for name in LOSSES if drawn(name) and name != "circle"]
)  # whose weights have no gradient
def test_every_force_is_the_slope_of_its_loss(name, kind):
    settings = SETTINGS.get(name, {})
    found = force_curve(name, settings, kind, AT)
    expected = np.array([slope_by_difference(name, kind, d) for d in AT])
    if name == "hier":  # scales the gradient by (1 - c |z|^2)^2 / 4 where x enters the ball as z
        expected *= (1 - math.tanh(0.1**0.5) ** 2) ** 2 / 4
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found).max() > 0


@pytest.mark.parametrize("name", ["prism", "ms_das", "hier"])
def test_a_force_depends_on_no_distance_asked_for_before_and_on_no_seed(name):
    state = torch.get_rng_state()
    together = force_curve(name, {}, "attraction", AT)
    torch.manual_seed(5)
    assert [force_curve(name, {}, "attraction", AT[i : i + 1])[0] for i in range(len(AT))] == together.tolist()
    torch.set_rng_state(state)
    force_curve(name, {}, "attraction", AT[:1])
    assert torch.equal(torch.get_rng_state(), state)


def test_the_losses_left_out_show_their_bins_alone(monkeypatch):
    """Where Histogram has a force, and how often that of FastAP changes its sign."""
    assert set(LEFT_OUT) <= set(LOSSES) and not any(map(drawn, LEFT_OUT))
    monkeypatch.setattr("pfml.figures.force.LEFT_OUT", {})
    at = np.sqrt(np.arange(0.0123, 3.8, 0.01))
    pull = force_curve("histogram", {}, "attraction", at)
    inside = ((at > 0.97) & (at < 1.01)) | ((at > 1.38) & (at < 1.43))
    assert (pull[~inside] == 0).all() and pull.max() > 0
    push = force_curve("histogram", {}, "repulsion", at)
    assert (push[(at < 0.99) | (at > 1.03)] == 0).all() and push.min() < 0
    pull = force_curve("fast_ap", {}, "attraction", at)
    assert np.abs(pull[at < 0.6]).max() < 1e-9
    for low in np.arange(0.8, 3.6, 0.4):  # bins of d^2
        inside = pull[(at**2 > low) & (at**2 < low + 0.4)]
        assert inside.min() < -0.1 and inside.max() > 1


def test_a_loss_that_does_not_say_what_acts_is_named_below_the_figure(tmp_path, monkeypatch):
    params = dict(plan_files(load_params(ROOT / "params.yaml")))["loss_figures"]
    monkeypatch.setattr("pfml.figures.force.DISTANCES", AT)
    monkeypatch.setattr(LOSSES["snr"], "acts", None)
    monkeypatch.setattr(LOSSES["proxy_gml"], "acts", None)
    assert {"SNR", "ProxyGML"} <= set(not_drawn(params)) and not drawn("snr") and drawn("pfml")
    with pytest.raises(ValueError, match=r"found 'snr'$"):
        force_curve("snr", {}, "attraction", AT)
    said = []
    monkeypatch.setattr("pfml.figures.force.save_figure", lambda figure, path: said.extend(
        text.get_text() for legend in figure.legends for text in legend.get_texts()))  # fmt: skip
    force_figure(force_curves(params), tmp_path / "forces.png", not_drawn(params))
    assert any(text.endswith("not drawn: " + ", ".join(not_drawn(params))) for text in said), said


def test_what_cannot_be_probed_is_refused():
    with pytest.raises(ValueError, match=r"name: expected one of pfml, .*, found 'histogram' \(it compares histograms"):
        force_curve("histogram", {}, "attraction", AT)
    with pytest.raises(ValueError, match=r"name: expected one of pfml, .*, found 'tripled'$"):
        force_curve("tripled", {}, "attraction", AT)
    with pytest.raises(ValueError, match="kind: expected one of attraction, repulsion, found 'pull'"):
        force_curve("pfml", {}, "pull", AT)
    with pytest.raises(ValueError, match="distances: expected chords"):
        force_curve("pfml", {}, "attraction", np.array([2.0]))


def test_every_other_loss_in_the_settings_is_drawn_and_written(tmp_path, monkeypatch):
    monkeypatch.setattr("pfml.figures.force.DISTANCES", AT)
    params = load_params(ROOT / "params.yaml")
    asked = dict(plan_files(params))["loss_figures"]
    curves = force_curves(asked)
    labels = {c.label for c in curves if c.kind == "attraction"}
    alphas = {*params.ablation.values("alpha"), params.loss.alpha}
    assert {f"PFML, α = {a:g}" for a in alphas} | {"CPML"} <= labels
    assert not any("auto" in label for label in labels), "its radius is known in a training alone"
    parts = {"HIST", "HIER", "PA+niV"}
    whole = {method_name(m) for m in params.baseline if drawn(m)} - parts
    assert whole | {f"{part}, in part" for part in parts} <= labels
    without = {m for m in params.baseline if m not in {c.method for c in curves}}
    assert without >= set(LEFT_OUT) and {method_name(m) for m in without - set(LEFT_OUT)} == set(not_drawn(asked))
    write_forces(curves, tmp_path / "new" / "forces.csv")
    rows = list(csv.DictReader((tmp_path / "new" / "forces.csv").open()))
    assert len(rows) == 2 * len(AT) and len(rows[0]) == 2 + len(curves) / 2
    row = next(r for r in rows if r["kind"] == "attraction" and float(r["distance"]) == 0.7)
    assert float(row["pfml alpha=3"]) == pytest.approx(2 * DecayingLaw(3.0, 0.2).pull(0.7), rel=1e-4)


def test_the_distances_show_both_sides_of_the_radius():
    assert DISTANCES[0] < 0.1 < 0.2 < DISTANCES[-1] < 2 and (np.diff(DISTANCES) > 0).all()
