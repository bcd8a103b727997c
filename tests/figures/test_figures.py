"""Every figure is written as PNG and PDF, small, and equal byte for byte; with nothing to show it says so."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pfml.evaluation.trials import Trial
from pfml.figures import training as training_figure
from pfml.figures.ablation import ablation_panels
from pfml.figures.field import field_picture
from pfml.figures.force import DISTANCES, KINDS, Curve, force_figure
from pfml.figures.gallery import Found, gallery_figure
from pfml.figures.map import map_figure
from pfml.figures.memorisation import memorisation_figure
from pfml.figures.overview import overview, overview_figure
from pfml.figures.proxy import Shown, proxy_figure
from pfml.figures.search import search_figure
from pfml.figures.training import training_curves
from pfml.report.names import NAMES
from pfml.report.published import paper
from pfml.report.results import Summary


def history(top):
    return [{"epoch": e, "loss": 8.0 / e, "recall@1": None if e == 2 else top * e / 4} for e in range(1, 5)]


HISTORIES = [("pfml", 0.0, history(0.7)), ("pfml", 0.0, history(0.8)), ("cpml", 0.2, history(0.5))]
HISTORIES += [("cpml", 0.0, history(0.6)), ("pfml", 0.2, history(0.6))]
IMAGES = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)


def curves(path):
    training_curves({"glyphs": HISTORIES}, path)


def test_the_names_of_all_methods_have_room_beside_their_lines(tmp_path, monkeypatch):
    heights = []
    real = training_figure.spread_out

    def spread(values, gap, top):
        found = real(values, gap, top)
        heights.append((top, found[-1], gap))
        return found

    monkeypatch.setattr(training_figure, "spread_out", spread)
    runs = [(method, 0.0, history(0.3 + 0.01 * i)) for i, method in enumerate(NAMES)]
    training_curves({"glyphs": runs}, tmp_path / "all.png")
    [(top, lowest, gap)] = heights
    assert top - lowest >= gap * (len(NAMES) - 1) - 1e-9 and lowest > 0, "the last name is not below the axis"


def ablation(path):
    series = {axis: [(p.at, Summary(0.6, 0.01, 2, 2)) for p in paper.figure3(axis)[:3]] for axis in paper.AXIS_NAMES}
    series["alpha"] = [(0.0, Summary(None, None, 0, 2))]
    ablation_panels(series, {a: paper.figure3(a) for a in series}, path, dict.fromkeys(series, 0.2))


def gallery(path):
    found = [Found("pfml", [[2, 3], [5, 6]], 0.5), Found("hist", [[4, 3], [7, 6]], 0.75)]
    gallery_figure(IMAGES, [0, 1], found, np.arange(12) % 3, path)


def overview_picture(path):
    overview_figure(overview(), path)


def forces(path):
    shape = 1 / DISTANCES
    drawn = [Curve("pfml", f"PFML, α = {a}", "field", kind, sign * shape**a, a)
             for kind, sign in zip(KINDS, (1, -1)) for a in (1, 3)]  # fmt: skip
    force_figure([*drawn, Curve("triplet", "Triplet", "pair", "attraction", 0 * shape + 1)], path)


def embeddings(n=60, classes=4):
    draw = np.random.default_rng(1)
    labels = np.arange(n) % classes
    points = draw.normal(size=(classes, 8))[labels] + 0.3 * draw.normal(size=(n, 8))
    return points / np.linalg.norm(points, axis=1, keepdims=True), labels


def map_picture(path):
    points, labels = embeddings()
    map_figure("pfml", points, labels, [IMAGES[i % 12] for i in range(60)], path)


def proxies(path):
    points, labels = embeddings()
    wrong = np.where(np.arange(60) < 3, (labels + 1) % 4, labels)
    own = {c: points[labels == c][:3] for c in range(4)}
    runs = [Shown(m, noise, points, labels, wrong if noise else labels, own, {0: 0.1, 1: 0.2, 2: None, 3: 0.4})
            for m, noise in (("pfml", 0.0), ("pfml", 0.2), ("cpml", 0.0))]  # fmt: skip
    proxy_figure(runs, {c: f"class number {c} of a very long name that goes on and on" for c in range(4)}, path)


def fitted_labels(path):
    clean, none = {"clean_fitted": 0.01, "clean_resisted": 0.9}, {"clean_fitted": None, "clean_resisted": None}
    one = {"flipped": 50, "seed": 0, "noise": 0.2}
    rows = [one | clean | {"method": "pfml", "fitted": 0.1, "resisted": 0.7}]
    rows += [one | none | {"method": "cpml", "fitted": 0.6, "resisted": 0.04}]
    memorisation_figure(rows, HISTORIES, path)


DRAWINGS = (curves, ablation, gallery, field_picture, overview_picture, forces, map_picture, proxies, fitted_labels)


@pytest.mark.parametrize("draw", DRAWINGS)
def test_a_figure_is_small_and_the_same_every_time(tmp_path, draw):
    draw(tmp_path / "a.png")
    draw(tmp_path / "deep" / "b.png")
    for ending in ("png", "pdf"):
        first, second = (tmp_path / f"{name}.{ending}" for name in ("a", "deep/b"))
        assert first.read_bytes() == second.read_bytes() and first.stat().st_size < 500_000
    image = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert min(image.shape[:2]) > 200 and len(np.unique(image.reshape(-1, 3), axis=0)) > 5


@pytest.mark.long
def test_another_process_draws_the_same_bytes(tmp_path):
    """Whatever order its sets and dicts of text have, and whatever matplotlibrc a user has."""
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nfont.size: 4\n")
    code = "import sys; from tests.figures.test_figures import *; curves(sys.argv[1]); forces(sys.argv[2])"
    for seed, rc in (("1", {}), ("2", {"MATPLOTLIBRC": str(tmp_path)})):
        names = [str(tmp_path / f"{what}{seed}.png") for what in "ab"]
        env = dict(os.environ) | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)} | rc
        subprocess.run([sys.executable, "-c", code, *names], env=env, check=True)
    for ending in ("png", "pdf"):
        for what in "ab":
            first, second = (tmp_path / f"{what}{seed}.{ending}" for seed in "12")
            assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: training_curves({}, path),
        lambda path: ablation_panels({}, {}, path),
        lambda path: gallery_figure([], [], [], [], path),
        lambda path: force_figure([], path),
        lambda path: map_figure("pfml", np.ones((2, 4)), np.zeros(2), [], path),
        lambda path: proxy_figure([], {}, path),
        lambda path: memorisation_figure([], [], path),
        lambda path: search_figure({}, path),
        lambda path: search_figure({"glyphs": [Trial(0, {"train.lr": 0.1}, (0.0,), (0.5,), (0.6,))]}, path),
    ],
)
def test_with_nothing_to_show_a_figure_says_so(tmp_path, draw):
    draw(tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 0 and (tmp_path / "empty.pdf").stat().st_size > 0


def test_the_report_does_not_import_matplotlib_before_it_draws():
    kinds = ("ablation", "field", "force", "gallery", "map", "memorisation", "overview", "proxy", "search", "training")
    modules = ", ".join(["pfml.report.document", "pfml.theory.document", *(f"pfml.figures.{k}" for k in kinds)])
    code = f"import sys, {modules}; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
