"""Figures of embeddings show the right images, classes and methods."""

import numpy as np
import pytest

from pfml.evaluation.trained import evenly_spaced
from pfml.figures.gallery import NEIGHBOURS, gallery_figure, gallery_view
from pfml.figures.map import map_figure, map_view
from pfml.figures.memorisation import histories_of, memorisation, memorisation_figure
from pfml.figures.proxy import proxy_figure, proxy_view
from tests.evaluation.trained_study import CLASSES, IMAGES, make_study


@pytest.fixture
def grid(tmp_path, tiny, write, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_study(tmp_path, tiny, write, lambda run, given, true: true)


def test_the_gallery_sets_pfml_beside_the_best_baseline(grid):
    images, queries, blocks, labels = gallery_view(grid, "glyphs")
    assert [block.method for block in blocks] == ["pfml", "contrastive"], (
        "proxy_nca retrieves worse, cpml is no baseline"
    )
    assert list(queries) == [(CLASSES + c) * IMAGES for c in range(CLASSES)], "the first image of each class"
    for block in blocks:
        assert np.shape(block.neighbours) == (CLASSES, NEIGHBOURS) and block.recall == 1.0
        assert (labels[block.neighbours] == labels[queries][:, None]).all()
        assert not (block.neighbours == queries[:, None]).any(), "a query is not its own neighbour"
    assert labels[0] == -1 and len(images) == 2 * CLASSES * IMAGES


def test_without_pfml_the_first_method_stands_in_its_place(grid):
    others = [run for run in grid if run.method in ("proxy_nca", "contrastive")]
    assert [b.method for b in gallery_view(others, "glyphs")[2]] == ["contrastive", "proxy_nca"]
    assert map_view(others, "glyphs")[0] == "contrastive"


def test_the_map_shows_test_images_of_pfml(grid, tmp_path):
    method, points, labels, images = map_view(grid, "glyphs")
    stored = np.load(tmp_path / "data/raw/glyphs/images.npy")
    assert method == "pfml" and len(points) == len(labels) == len(images) == CLASSES * IMAGES
    assert any(np.array_equal(images[0], picture) for picture in stored[CLASSES * IMAGES :])


def test_proxies_are_shown_of_methods_that_have_them(grid):
    networks, names = proxy_view(grid, "glyphs")
    assert [(trained.method, trained.noise) for trained in networks] == [
        ("pfml", 0.0),
        ("cpml", 0.0),
        ("pfml", 0.2),
        ("cpml", 0.2),
    ]
    assert list(names) == list(evenly_spaced(np.arange(CLASSES), 4))
    assert all(set(trained.labels) == set(names) == set(trained.w2) for trained in networks)
    assert all(0 < w2 < 0.2 for trained in networks for w2 in trained.w2.values()), "proxies are at the class centres"
    assert all((trained.labels != trained.true_labels).any() == (trained.noise > 0) for trained in networks)


def test_a_class_of_fewer_images_than_proxies_has_no_w2(grid):
    for run in grid:
        if run.method in ("pfml", "cpml"):
            path = run.paths().model / "embeddings.npz"
            saved = dict(np.load(path))
            np.savez(path, **saved | {"proxies": np.repeat(saved["proxies"], 20, 1)})
    networks, _ = proxy_view(grid, "glyphs")
    assert {w2 for trained in networks for w2 in trained.w2.values()} == {None}


def test_a_study_without_single_runs_has_figures_that_say_so(tmp_path):
    gallery_figure(*gallery_view([], "glyphs"), tmp_path / "gallery.png")
    map_figure(*map_view([], "glyphs"), tmp_path / "map.png")
    proxy_figure(*proxy_view([], "glyphs"), tmp_path / "proxies.png")
    memorisation_figure(memorisation([]), histories_of([]), tmp_path / "memorisation.png")
    assert len(list(tmp_path.glob("*.png"))) == 4
