"""Titles say what the data say, and say something else of other data; lines of a panel differ in shape."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from pfml.evaluation.trials import Trial
from pfml.figures import ablation as ablation_figure
from pfml.figures import force as force_figure
from pfml.figures import gallery as gallery_figure
from pfml.figures import map as map_figure
from pfml.figures import memorisation as memorisation_figure
from pfml.figures import search as search_figure
from pfml.figures import training as training_figure
from pfml.figures.force import DISTANCES, Curve
from pfml.figures.proxy import Shown, components, title
from tests.figures.test_figures import IMAGES, curves


def test_training_names_the_best_and_pfml():
    assert (
        training_figure.finding(0.0, {"pfml": 70.0, "cpml": 71.25})
        == "clean labels: CPML ends highest, 71.2 %; PFML 70.0 %"
    )
    assert training_figure.finding(0.2, {"pfml": 70.0}) == "20 % wrong labels: PFML ends highest, 70.0 %"
    assert training_figure.finding(0.2, {}) == "20 % wrong labels"


def test_lines_of_a_panel_differ_in_dash_or_marker(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(training_figure, "save_figure", lambda figure, path: kept.append(figure))
    curves(tmp_path / "a.png")
    for axes in kept[0].axes:
        shapes = [(line.get_linestyle(), line.get_marker()) for line in axes.lines if len(line.get_xdata()) > 1]
        assert len(shapes) == 2 and len(set(shapes)) == 2 and "None" not in {marker for _, marker in shapes}


def test_labels_at_the_lines_ends_keep_their_order_and_distance():
    placed = training_figure.spread_out([80.0, 79.9, 79.8, 40.0], 3.0, 100.0)
    assert all(a - b >= 3.0 - 1e-9 for a, b in pairwise(placed))
    assert placed[3] == 40.0 and sum(placed[:3]) / 3 == pytest.approx(79.9)
    assert training_figure.spread_out([80.0, 79.9], 3.0, 80.0) == pytest.approx([80.0, 77.0])


def test_the_loss_is_a_share_of_its_first_epoch():
    rows = [{"epoch": 1, "loss": 8.0}, {"epoch": 2, "loss": 2.0}]
    assert training_figure._relative_loss(rows) == {1: 1.0, 2: 0.25}
    assert training_figure._relative_loss([{"epoch": 1, "loss": 0.0}]) == {}


def test_an_ablation_says_where_it_is_best_and_by_how_much():
    points = [(0.0, 65.0, 0.0), (5.0, 71.0, 0.0), (15.0, 70.5, 0.0)]
    assert ablation_figure.finding(points, "M", 15.0) == "best at M = 5: +0.5 points"
    assert ablation_figure.finding(points, "M", 5.0) == "best at M = 5, the default"
    assert ablation_figure.finding(points, "M", None) == "best at M = 5"
    assert ablation_figure.finding([], "M", 15.0) == "not run"


def trial(number, score, **loss):
    settings = {f"loss.{key}": value for key, value in loss.items()}
    return Trial(number, settings, (0.0, 0.2), (score, score - 0.1), (0, 0))


def test_a_search_has_a_point_for_each_trial_and_names_the_best(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(search_figure, "save_figure", lambda figure, path: kept.append(figure))
    moved = {"alpha": 3.0, "delta": 0.2, "proxies_per_class": 15}
    trials = [
        trial(0, 0.4, delta_rep=0.2, reduction="sum", **moved),
        trial(1, 0.6, delta_rep=1.25, reduction="pair_mean", **moved | {"proxies_per_class": 1}),
        trial(2, 0.5, delta_rep=0.7, reduction="sum", **moved),
    ]
    assert search_figure.finding(trials) == "best 55.0 at $\\delta_{rep}$ 1.25; published settings 35.0"
    search_figure.search_figure({"glyphs": trials}, tmp_path / "a.png")
    axes = kept[0].axes
    assert [a.get_xlabel() for a in axes] == ["$\\delta_{rep}$", "δ", "α", "M"]
    points = {(line.get_xdata()[0], round(line.get_ydata()[0], 6)): line.get_label() for line in axes[0].lines[:3]}
    assert points == {
        (1.25, 55.0): "reduction: pair_mean", (0.7, 45.0): "reduction: sum", (0.2, 35.0): "published settings"
    }  # fmt: skip
    assert (axes[0].lines[3].get_xdata()[0], axes[3].lines[3].get_xdata()[0]) == (1.25, 1)


def test_a_collapsed_run_does_not_flatten_the_others():
    low, high = ablation_figure.limits([70.0, 71.0, 72.0, 11.0])
    assert 55 < low < 70 and 72 < high < 75
    low, high = ablation_figure.limits([70.0, 70.5])
    assert high - low >= ablation_figure.LEAST_RANGE and low < 70 < 70.5 < high


def test_the_gallery_counts_its_hits():
    block = gallery_figure.Found("hist", [[1, 2], [3, 4]], 0.625)
    text = gallery_figure.caption(block, [0, 5], labels=[7, 7, 8, 9, 8, 8])
    assert text == "HIST: 2 of these 4 right, R@1 of all 62.5 %"


def test_frames_of_the_gallery_tell_right_from_wrong(tmp_path):
    def frames(labels):
        found = [gallery_figure.Found("pfml", [[1, 2]], 0.5)]
        gallery_figure.gallery_figure(np.zeros((3, 8, 8, 3), np.uint8), [0], found, labels, tmp_path / "g.png")
        image = np.asarray(Image.open(tmp_path / "g.png").convert("RGB")).reshape(-1, 3).astype(int)
        return [(np.abs(image - colour).max(1) < 4).sum() for colour in ((0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00))]

    dark, light = frames([4, 4, 4])
    assert dark > 500 and light == 0
    dark, light = frames([4, 5, 6])
    assert dark == 0 and light > 500


def test_the_gallery_refuses_queries_without_neighbours(tmp_path):
    with pytest.raises(ValueError, match="2 queries, but PFML has neighbours for 1"):
        found = [gallery_figure.Found("pfml", [[1, 2]], 0.5)]
        gallery_figure.gallery_figure(IMAGES, [0, 1], found, [0, 0, 0], tmp_path / "g.png")


def curve(method, label, power, kind="attraction"):
    return Curve(method, label, "pair", kind, DISTANCES**power * (1 if kind == "attraction" else -1))


def test_forces_are_said_to_fall_only_where_they_do():
    falling, flat, growing = (
        curve("pfml", "PFML, α = 1", -2),
        curve("triplet", "Triplet", 0),
        curve("cpml", "CPML", 1),
    )
    found = [force_figure.trend(c) for c in (falling, flat, growing)]
    assert found == ["falls", "stays", "grows"]
    assert force_figure.finding([falling, flat, growing], "attraction") == "1 falls, 1 stays, 1 grows"
    said = force_figure.overall([falling, curve("pfml_tuned", "PFML tuned, α = 2", -1), flat, growing])
    assert said.startswith("Attraction falls with distance for PFML and PFML tuned alone, grows for 1, stays for 1 (")
    assert force_figure.overall([flat]).startswith("Attraction falls with distance for no loss, stays for 1")


def test_an_attraction_without_force_is_not_said_to_stay():
    absent = Curve("x", "x", "pair", "attraction", np.where(DISTANCES < 0.2, 1.0, 0.0))
    assert force_figure.trend(absent) == "ends"
    assert force_figure.finding([absent], "attraction") == "1 ends"


def test_the_reach_of_a_repulsion_is_told():
    short = Curve("pfml", "PFML", "pair", "repulsion", np.where(DISTANCES < 0.5, -1.0, 0.0))
    assert force_figure.finding([short], "repulsion") == "reaches to d = 0.5"
    long = curve("cpml", "CPML", 1, "repulsion")
    assert force_figure.finding([short, long], "repulsion") == "reaches to d = 0.5 and up to 1.9"


def test_the_wrong_direction_counts_as_no_force():
    assert (force_figure.size(Curve("x", "x", "pair", "repulsion", DISTANCES)) == 0).all()


def test_a_map_tells_how_often_the_nearest_is_of_the_same_class():
    points = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.2, 0.9]])
    assert map_figure.same_class_nearest(points, np.array([0, 0, 1, 1])) == 1.0
    assert map_figure.same_class_nearest(points, np.array([0, 1, 1, 0])) == 0.0
    text = map_figure.finding("pfml", points, points[:, ::-1] * [1.0, 5.0], np.array([0, 0, 1, 1]))
    assert (
        text == "t-SNE of 4 images of 2 unseen classes (PFML): 100 % have one of their class nearest, 100 % in the map"
    )


def test_pictures_of_a_map_do_not_overlap():
    places = np.random.default_rng(0).random((200, 2))
    shown = map_figure.apart(places, 0.1)
    gaps = np.abs(places[shown][:, None] - places[shown]).max(-1) + np.eye(shown.sum())
    assert 20 < shown.sum() < 100 and gaps.min() >= 0.1
    hidden = np.abs(places[~shown][:, None] - places[shown]).max(-1).min(1)
    assert (hidden < 0.1).all(), "only what would overlap is left out"


def test_w2_of_each_class_is_in_the_title():
    none = np.zeros((0, 2))
    run = Shown("cpml", 0.0, none, none, none, {}, {3: 0.123, 7: None})
    assert title(run, [3, 7]) == "CPML: $W_2$ ● 0.12  ■ –"


def test_components_are_those_of_most_variance():
    draw = np.random.default_rng(0)
    points = draw.normal(size=(500, 3)) * [1.0, 5.0, 0.1] + [7.0, 0.0, 0.0]
    centre, ways, kept = components(points)
    np.testing.assert_allclose(np.abs(ways), [[0, 1, 0], [1, 0, 0]], atol=0.05)
    np.testing.assert_allclose(centre, points.mean(0))
    assert 0.99 < kept < 1 and (ways.max(1) > 0.9).all()


def test_memorisation_over_epochs_is_drawn_where_it_was_looked_at(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(memorisation_figure, "save_figure", lambda figure, path: drawn.append(figure))
    looked = [{"epoch": e, "loss": 1.0, "recall@1": 0.5, "fitted": f} for e, f in ((1, None), (2, 0.1), (3, 0.3))]
    other = [row | {"fitted": row["fitted"] and 3 * row["fitted"]} for row in looked]
    rows = [{"method": "pfml", "noise": 0.2, "seed": 0, "flipped": 9, "fitted": 0.6, "resisted": 0.1}]
    runs = [("pfml", 0.2, looked), ("pfml", 0.2, other), ("pfml", 0.0, [{"epoch": 1, "recall@1": 0.9}])]
    memorisation_figure.memorisation_figure(rows, runs, tmp_path / "a.png")
    above, below, _ = drawn[0].axes
    assert below.get_title("left") == "wrong labels fitted: 60.0 (PFML)" and above.get_title("left").startswith(
        "R@1 lost"
    )
    (line,) = [line for line in below.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(line.get_xydata(), [(2, 20), (3, 60)])
    memorisation_figure.memorisation_figure(rows, [("pfml", 0.2, [{"epoch": 1, "recall@1": 0.9}])], tmp_path / "a.png")
    assert "not looked at in training" in [text.get_text() for text in drawn[1].axes[1].texts]


def test_memorisation_is_averaged_over_seeds_of_one_noise_level():
    row = {
        "method": "pfml",
        "noise": 0.2,
        "seed": 0,
        "flipped": 10,
        "fitted": 0.2,
        "resisted": 0.5,
        "clean_fitted": None,
    }
    rows = [row, row | {"seed": 1, "fitted": 0.4}, row | {"noise": 0.5, "fitted": 0.9}]
    means = memorisation_figure.over_seeds(rows, 0.2)
    assert means["pfml"]["fitted"] == pytest.approx(0.3) and "clean_fitted" not in means["pfml"]
    text = memorisation_figure.finding(means | {"cpml": {"flipped": 10, "fitted": 0.1, "resisted": 0.9}})
    assert text == "10 wrong labels: at most 30.0 % fitted (PFML), 50 to 90 % resisted"
