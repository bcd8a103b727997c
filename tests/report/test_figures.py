"""Figures are written, small, and equal byte for byte; the field behind Figure 2 obeys the paper's equations."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from pfml import paper, theory
from pfml.report import figures
from pfml.report.ledger import Summary

LAWS = [theory.DecayingLaw(alpha=3.0, delta=0.2), theory.GrowingLaw(delta=0.2)]


def history(top):
    return [{"epoch": e, "recall@1": None if e == 2 else top * e / 4} for e in range(1, 5)]


def curves(path):
    figures.training_curves(
        [("pfml", 0.0, history(0.7)), ("pfml", 0.0, history(0.8)), ("cpml", 0.2, history(0.5))], path
    )


def ablation(path):
    series = {axis: [(p.at, Summary(0.6, 0.01, 2, 2)) for p in paper.figure3(axis)[:3]] for axis in paper.AXIS_NAMES}
    series["alpha"] = [(0.0, Summary(None, None, 0, 2))]
    figures.ablation_panels(series, {a: paper.figure3(a) for a in series}, path, dict.fromkeys(series, 0.2))


def gallery(path):
    images = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
    figures.retrieval_gallery(images, [0, 1], [[2, 3, 4], [5, 6, 7]], np.arange(12) % 3, path)


@pytest.mark.parametrize("draw", [curves, ablation, gallery, figures.field_picture])
def test_a_figure_is_a_small_png_and_the_same_every_time(tmp_path, draw):
    draw(tmp_path / "a.png")
    draw(tmp_path / "deep" / "b.png")
    first, second = (tmp_path / "a.png").read_bytes(), (tmp_path / "deep" / "b.png").read_bytes()
    assert first == second and len(first) < 200_000
    image = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert min(image.shape[:2]) > 200 and len(np.unique(image.reshape(-1, 3), axis=0)) > 5


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: figures.training_curves([], path),
        lambda path: figures.ablation_panels({}, {}, path),
        lambda path: figures.retrieval_gallery([], [], [], [], path),
    ],
)
def test_with_nothing_to_show_a_figure_says_so(tmp_path, draw):
    draw(tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 0


def test_frames_of_the_gallery_tell_right_from_wrong(tmp_path):
    def frames(labels):
        figures.retrieval_gallery(np.zeros((3, 8, 8, 3), np.uint8), [0], [[1, 2]], labels, tmp_path / "g.png")
        image = np.asarray(Image.open(tmp_path / "g.png").convert("RGB")).reshape(-1, 3)
        return [(image == colour).all(1).sum() for colour in ((0, 0x9E, 0x73), (0xD5, 0x5E, 0))]

    green, orange = frames([4, 4, 4])
    assert green > 500 and orange == 0
    green, orange = frames([4, 5, 6])
    assert green == 0 and orange > 500


def test_the_gallery_refuses_queries_without_neighbours(tmp_path):
    with pytest.raises(ValueError, match="2 queries, but neighbours for 1"):
        figures.retrieval_gallery(np.zeros((3, 8, 8)), [0, 1], [[1, 2]], [0, 0, 0], tmp_path / "g.png")


def test_labels_at_the_lines_ends_keep_their_order_and_distance():
    placed = figures._spread([80.0, 79.9, 79.8, 40.0], 3.0)
    assert all(a - b >= 3.0 - 1e-9 for a, b in pairwise(placed))
    assert placed[3] == 40.0 and sum(placed[:3]) / 3 == pytest.approx(79.9)


def test_the_report_does_not_import_matplotlib_before_it_draws():
    code = "import sys, pfml.report.figures, pfml.report.tables; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_potentials_of_one_charge_by_hand():
    at = np.array([[0.1, 0.0], [0.2, 0.0], [0.4, 0.0]])
    charge, label = np.zeros((1, 2)), np.array([0])
    pulled, force = theory.class_field(at, charge, label, 0, LAWS[0])
    assert pulled == pytest.approx([0.0, 0.0, 125 - 15.625])
    assert force[:, 0] == pytest.approx([0.0, 0.0, -3 / 0.4**4]) and not force[:, 1].any()
    pushed, force = theory.class_field(at, charge, label, 1, LAWS[0])
    assert pushed == pytest.approx([1000 - 125, 0.0, 0.0]) and force[:, 0] == pytest.approx([3 / 0.1**4, 0.0, 0.0])
    pulled, force = theory.class_field(at, charge, label, 0, LAWS[1])
    assert pulled == pytest.approx([0.0, 0.0, 0.16 - 0.04]) and force[2, 0] == pytest.approx(-0.8)
    pushed, force = theory.class_field(at, charge, label, 1, LAWS[1])
    assert pushed == pytest.approx([0.01, 0.0, 0.0]) and force[0, 0] == pytest.approx(0.2)


@pytest.mark.parametrize("law", LAWS)
def test_force_is_minus_the_gradient_of_the_potential(law):
    draw = np.random.default_rng(1)
    points, labels = draw.uniform(-1, 1, (7, 3)), np.arange(7) % 2
    at, step = draw.uniform(-1, 1, (20, 3)), 1e-6
    _, force = theory.class_field(at, points, labels, 1, law)
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        up, down = (theory.class_field(at + s * shift, points, labels, 1, law)[0] for s in (1, -1))
        assert -(up - down) / (2 * step) == pytest.approx(force[:, axis], rel=1e-4, abs=1e-4)


def test_proxies_rest_at_the_data_under_pfml_and_at_its_mean_under_cpml():
    points, labels = np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([0, 0])
    starts = np.array([[-0.3, 0.5], [0.4, -0.6]])
    for law, expected in zip(LAWS, (0.2, 1.0)):
        rest = theory.settle(starts, lambda at, law=law: theory.class_field(at, points, labels, 0, law)[1], 0.02, 600)
        nearest = np.linalg.norm(rest[:, None] - points, axis=-1).min(1)
        assert nearest == pytest.approx([expected, expected], abs=0.03)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="class_field"):
        theory.class_field(np.zeros((5, 3)), np.zeros((4, 2)), np.zeros(4), 0, LAWS[0])
