"""A trained run is read with the images, labels and classes that it saw; which runs figures choose."""

import numpy as np
import pandas as pd
import pytest

from pfml.evaluation.trained import class_names, evenly_spaced, read_trained, runs_of
from tests.evaluation.trained_study import CLASSES, IMAGES, make_study


@pytest.fixture
def grid(tmp_path, tiny, write, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_study(tmp_path, tiny, write, lambda run, given, true: true)


def run_of(grid, method, noise):
    return runs_of(grid, "glyphs", noise)[method]


def test_a_run_is_read_with_its_images_and_labels(grid):
    trained = read_trained(run_of(grid, "pfml", 0.2))
    assert (trained.train_items < CLASSES * IMAGES).all() and (trained.test_items >= CLASSES * IMAGES).all()
    assert (trained.labels != trained.true_labels).sum() == round(0.2 * CLASSES * IMAGES)
    np.testing.assert_array_equal(trained.true_labels, trained.train_items // IMAGES)
    for vectors in (trained.train, trained.test, trained.proxies.reshape(-1, trained.train.shape[1])):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert class_names(trained) == {c: f"letter {c}" for c in range(CLASSES)}


def test_embeddings_of_other_labels_or_images_are_refused(grid):
    run = run_of(grid, "pfml", 0.0)
    path = run.paths().model / "embeddings.npz"
    saved = dict(np.load(path))
    np.savez(path, **saved | {"train_labels": saved["train_labels"][::-1]})
    with pytest.raises(ValueError, match=r"train_labels: expected the noisy_label of data/noise/glyphs-0.0-0.csv"):
        read_trained(run)
    np.savez(path, **saved | {"test": saved["test"][1:]})
    with pytest.raises(ValueError, match="test: expected 60 embeddings, found 59"):
        read_trained(run)


def test_a_run_of_other_settings_is_refused(grid, tiny, write, tmp_path):
    from pfml.settings.load import load_params
    from pfml.settings.runs import grid_runs

    tiny["loss"]["alpha"] = 4.0
    changed = grid_runs(load_params(write(tiny, tmp_path)))
    with pytest.raises(ValueError, match="trained with configuration"):
        read_trained(run_of(changed, "pfml", 0.0))


@pytest.mark.parametrize("hold_out", [False, True])
def test_training_is_told_the_true_labels_of_its_images(grid, hold_out):
    """By the pixels: every image of one class has one true label, whatever its given one, numbered from 0."""
    from dataclasses import replace

    from pfml.training.batches.run_data import load_run_data

    run = run_of(grid, "pfml", 0.2)
    data = load_run_data(replace(run, train={**run.train, "hold_out": hold_out}))
    wrong = (data.train.labels != data.true_labels).sum()
    assert data.true_labels.tolist() == [c for c in range(CLASSES - 2 * hold_out) for _ in range(IMAGES)]
    assert wrong == round(0.2 * len(data.true_labels))


def test_validation_classes_held_out_are_neither_trained_nor_tested(grid, tiny, write, tmp_path):
    """Their classes leave the training half and are what the run is measured on; labels are numbered anew."""
    from dataclasses import replace

    from tests.evaluation.trained_study import write_run

    run = run_of(grid, "pfml", 0.0)
    held = replace(run, seed=5, train={**run.train, "hold_out": True})
    manifest = pd.read_csv(run.paths().manifest)
    manifest.to_csv(held.paths().manifest, index=False)
    kept = manifest[(manifest["split"] == "train")]
    seen = kept.assign(split=np.where(kept["validation"], "test", "train"))
    seen["noisy_label"] = seen["true_label"] = seen["true_label"] - 2 * (seen["split"] == "train")
    write_run(held, seen, lambda run, given, true: true)
    trained = read_trained(held)
    assert set(trained.train_items // IMAGES) == {2, 3, 4, 5} and set(trained.test_items // IMAGES) == {0, 1}
    assert class_names(trained) == {c: f"letter {c + 2}" for c in range(4)}


def test_runs_are_of_the_first_seed_at_the_lowest_noise(grid):
    chosen = runs_of([*reversed(grid)], "glyphs")
    assert set(chosen) == {"pfml", "cpml", "contrastive", "proxy_nca"} and {c.noise for c in chosen.values()} == {0.0}


def test_classes_are_evenly_spaced():
    assert list(evenly_spaced(np.array([9, 1, 5, 3, 7, 1]), 3)) == [1, 5, 9]
    assert list(evenly_spaced(np.array([4, 2]), 3)) == [2, 4]
