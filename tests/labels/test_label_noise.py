"""From the noise section of params.yaml to labels: every kind on one small split, and among kept classes only."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pfml.labels.noise import corrupt_labels, noise_manifest
from pfml.labels.split import zero_shot_split
from pfml.labels.tables import noise_tables, small_pictures
from pfml.settings.schema import Noise

CLASSES, EACH = 6, 10  # of the training half; 2 more to test on
HUES = np.repeat(np.eye(3), 2, 0) * 180 + np.arange(6)[:, None]  # classes 0 and 1, 2 and 3, 4 and 5 look alike


@pytest.fixture
def images():
    hues = np.repeat(np.concatenate([HUES, HUES[:2]]), EACH, 0)
    grain = np.random.default_rng(0).integers(0, 9, (len(hues), 3))
    return [np.full((9 + i % 3, 12, 3), hue, np.uint8) for i, hue in enumerate(hues + grain)]


@pytest.fixture
def split():
    ids = np.repeat(np.arange(CLASSES + 2), EACH)
    items = pd.DataFrame({"item": range(len(ids)), "class_id": ids, "class_name": [f"bird {c}" for c in ids]})
    return zero_shot_split(items, [f"{i:016x}" for i in range(len(ids))], CLASSES, 2)


NAMES = [f"images/{i:02d}.jpg" for i in range((CLASSES + 2) * EACH)]


def asked(kind="uniform", **changes):
    settings = {"neighbours": 1, "embeddings": None, "confusable": None, "list": None, "numbering": 1}
    return Noise(kind=kind, **settings | changes).model_dump()


def tables(split, images, noise, fraction=0.2, root=Path(), hold_out=False):
    return noise_tables(split, noise, fraction, 3, "birds", NAMES, images, root, hold_out)


def pairs(manifest):
    moved = manifest[manifest["corrupted"]]
    return set(zip(moved["true_label"], moved["noisy_label"]))


def test_uniform_noise_is_the_manifest_of_the_paper(split, images):
    manifest, classes, imported = tables(split, images, asked())
    pd.testing.assert_frame_equal(manifest, noise_manifest(split, 0.2, 3))
    assert imported is None and classes["moved_out"].sum() == classes["moved_in"].sum() == 12
    assert classes["class_name"].tolist() == [f"bird {c}" for c in range(CLASSES)]
    assert classes["class_id"].tolist() == list(range(CLASSES)) and set(classes["confusable"]) == {""}


@pytest.mark.parametrize("kind", ["uniform", "pairflip", "semantic", "list"])
def test_without_noise_every_kind_leaves_the_labels(split, images, kind):
    manifest, classes, imported = tables(split, images, asked(kind, list="absent.csv"), 0.0)
    pd.testing.assert_frame_equal(manifest, noise_manifest(split, 0.0, 3))
    assert not classes["moved_in"].any() and imported is None


def test_pairflip_moves_to_the_next_class(split, images):
    manifest, _, _ = tables(split, images, asked("pairflip"))
    assert manifest["corrupted"].sum() == 12 and all((a + 1) % CLASSES == b for a, b in pairs(manifest))


def test_semantic_noise_goes_to_classes_that_look_alike(split, images):
    manifest, classes, _ = tables(split, images, asked("semantic"))
    assert manifest["corrupted"].sum() == 12 and pairs(manifest) <= {(0, 1), (1, 0), (2, 3), (3, 2), (4, 5), (5, 4)}
    assert classes["confusable"].tolist() == ["1", "0", "3", "2", "5", "4"]


def test_semantic_noise_by_the_embeddings_of_a_run(split, images, tmp_path):
    directions = np.eye(3)[[0, 1, 2, 0, 1, 2]]  # class 0 goes with 3, 1 with 4, 2 with 5
    labels = np.repeat(np.arange(CLASSES), EACH)
    np.savez(tmp_path / "birds-0.2.npz", train=directions[labels], train_labels=labels)
    noise = asked("semantic", embeddings="{dataset}-{noise}.npz")
    manifest, classes, _ = tables(split, images, noise, root=tmp_path)
    assert classes["confusable"].tolist() == ["3", "4", "5", "0", "1", "2"] and len(pairs(manifest)) > 3


def test_embeddings_of_other_labels_are_refused(split, images, tmp_path):
    np.savez(tmp_path / "saved.npz", train=np.ones((60, 3)), train_labels=np.zeros(60, int))
    with pytest.raises(ValueError, match=r"noise\.embeddings: .*saved\.npz: its train_labels are not the true labels"):
        tables(split, images, asked("semantic", embeddings="saved.npz"), root=tmp_path)
    with pytest.raises(ValueError, match=r"noise\.embeddings: expected a file, found nothing at .*absent\.npz"):
        tables(split, images, asked("semantic", embeddings="absent.npz"), root=tmp_path)


def test_a_file_that_is_no_run_and_more_neighbours_than_classes_are_refused(split, images, tmp_path):
    (tmp_path / "saved.npz").write_text("no array")
    with pytest.raises(ValueError, match=r"saved\.npz: expected an embeddings\.npz of a run"):
        tables(split, images, asked("semantic", embeddings="saved.npz"), root=tmp_path)
    with pytest.raises(ValueError, match=r"noise\.neighbours: expected 1 to 5, .* birds trains on, found 6"):
        tables(split, images, asked("semantic", neighbours=6), root=tmp_path)


def test_semantic_noise_by_a_list_of_pairs(split, images, tmp_path):
    (tmp_path / "pairs.csv").write_text("class_id,confusable_id\n0,5\n")
    manifest, _, _ = tables(split, images, asked("semantic", confusable="pairs.csv"), 0.1, tmp_path)
    assert manifest["corrupted"].sum() == 6 and pairs(manifest) == {(0, 5)}


@pytest.fixture
def listed(tmp_path):
    """Class 5 dissolved into class 0, one label beyond the training classes, one test image."""
    labels = np.repeat(np.arange(CLASSES), EACH)
    labels[50:] = 0
    labels[7] = CLASSES
    lines = [f"/somewhere/{name},{label + 1}" for name, label in zip(NAMES, labels)] + [f"/somewhere/{NAMES[70]},1"]
    (tmp_path / "birds_0.2noised.csv").write_text("\n".join(lines))
    return asked("list", list="{dataset}_{noise}noised.csv")


def test_a_public_list_is_taken_with_its_flaws_told(split, images, listed, tmp_path):
    manifest, classes, imported = tables(split, images, listed, root=tmp_path)
    assert pairs(manifest) == {(5, 0)} and manifest["corrupted"].sum() == 10
    assert imported.out_of_range == [NAMES[7]] and imported.unknown == [f"/somewhere/{NAMES[70]}"]
    assert classes["emptied"].tolist() == [False] * 5 + [True] and classes["purity"][0] == 0.5
    with pytest.raises(ValueError, match=r"noise\.list: expected a file, found nothing at .*birds_0\.5noised\.csv"):
        tables(split, images, listed, 0.5, tmp_path)


def test_a_list_that_moves_nothing_is_refused(split, images, tmp_path):
    lines = [f"{name},{i // EACH}" for i, name in enumerate(NAMES[: CLASSES * EACH])]
    (tmp_path / "clean.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"clean\.csv: expected noisy labels, found the true ones"):
        tables(split, images, asked("list", list="clean.csv", numbering=0), root=tmp_path)


@pytest.mark.parametrize("kind", ["uniform", "pairflip", "semantic", "list"])
def test_runs_without_validation_classes_see_no_label_of_these(split, images, listed, tmp_path, kind):
    noise = listed if kind == "list" else asked(kind, neighbours=3)
    manifest, classes, _ = tables(split, images, noise, root=tmp_path, hold_out=True)
    plain, _, _ = tables(split, images, noise, root=tmp_path)
    pd.testing.assert_frame_equal(manifest[list(plain)], plain)  # other runs see the same labels
    kept = (manifest["split"] == "train") & ~manifest["validation"]  # classes 0 and 3 are held out
    assert (manifest.loc[~kept, ["kept_true", "kept_noisy"]] == -1).all(axis=None)
    truth, noisy = manifest.loc[kept, "kept_true"].to_numpy(), manifest.loc[kept, "kept_noisy"].to_numpy()
    assert (truth == np.repeat(np.arange(4), EACH)).all() and set(noisy) <= {0, 1, 2, 3}
    if kind == "list":
        assert (noisy == truth).all()  # class 0, to which all samples of 5 were moved, is held out
    else:
        assert (noisy != truth).sum() == round(0.2 * 40)
    if kind == "semantic":  # of 1, 2, 4, 5 numbered anew, each to those among its three nearest that are kept
        nearest = [row.split() for row in classes["confusable"]]
        new = {"1": 0, "2": 1, "4": 2, "5": 3}
        allowed = {(new[c], new[t]) for c in new for t in nearest[int(c)] if t in new}
        assert set(zip(truth[noisy != truth], noisy[noisy != truth])) <= allowed
    if kind == "uniform":
        assert (noisy == corrupt_labels(truth, 0.2, 3, 4)[0]).all()


def test_small_pictures_say_how_images_of_any_size_look(images):
    features = small_pictures(images, [0, 5, 25, 45])
    assert features.shape == (4, 192) and features.dtype == np.float32 and abs(features.mean(0)).max() < 1e-4
    near, far = np.linalg.norm(features[0] - features[1]), np.linalg.norm(features[0] - features[2])
    assert near < 0.2 * far
