"""The MLRC protocol: runs of the folds, who trains and who validates in them, and the joined networks."""

import copy
import csv
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from pfml.evaluation.folds import concatenated, evaluate_folds
from pfml.retrieval import retrieval_metrics
from pfml.settings import ConfigError
from pfml.settings.load import load_params, params_from
from pfml.settings.overlay import merge as overlay
from pfml.settings.planning import write_plan
from pfml.settings.presets import read_preset
from pfml.settings.run import inputs_digest
from pfml.settings.runs import ablation_runs, by_repeat, find_run, fold_runs, grid_runs
from pfml.training.batches.run_data import load_run_data
from tests.committed import committed
from tests.conftest import ROOT, merge

FOLDS = {
    "grid": {"field": [], "baseline": []}, "mlrc": {"field": ["pfml"], "baseline": ["contrastive"]},
    "ablation": {"points": []},
    "train": {"hold_out": True, "select": "best_validation", "patience": 2},
}  # fmt: skip


@pytest.fixture
def folds(tiny, write):
    """The runs of a study of eight folds: two methods, one seed."""

    def _folds(**changes):
        return fold_runs(load_params(write(merge(copy.deepcopy(tiny), merge(copy.deepcopy(FOLDS), changes)))))

    return _folds


def test_results_that_are_committed_keep_their_digests(raw, write, monkeypatch):
    """What a run of an earlier version is must not move with what came later."""
    monkeypatch.chdir(ROOT)
    params = params_from(overlay(copy.deepcopy(raw), read_preset("glyphs-all")), "glyphs-all")
    digests = {run.name: run.digest for run in grid_runs(params) + ablation_runs(params)}
    records = [json.loads(path.read_text()) for path in committed("reports/runs/glyphs-all").glob("**/glyphs-*.json")]
    assert len(records) >= 200 and all(digests[record["run"]] == record["digest"] for record in records)
    raw["train"] |= {"portable": False, "epochs": 12, "eval_every": 1}  # as before there was this setting
    raw["model"]["backbone"] = "conv4"
    raw["field"]["pfml"]["train"] = {
        "lr": 1e-2,
        "proxy_lr": 0.3,
        "clip_proxies": True,
    }  # of a run that was committed once
    params = load_params(write(raw))
    assert {run.name: run.digest for run in grid_runs(params)}["glyphs-pfml-0.0-0"] == "f964e28a9a01e622"


def test_a_run_for_each_fold_with_a_digest_of_its_own(folds):
    runs = folds()
    assert [run.name for run in runs[:4]] == [f"glyphs-pfml-0-fold-{k}" for k in range(4)]
    assert len({run.digest for run in runs}) == len({run.paths().model for run in runs}) == 8
    assert {run.paths().result.as_posix() for run in runs[:4]} == {"reports/runs/tiny/mlrc/glyphs-pfml-0.json"}
    assert (runs[1].config["fold"], runs[1].config["folds"]) == (1, 4) and not runs[1].never_sees_test
    assert list(by_repeat(runs)) == [("tiny", "glyphs-pfml-0"), ("tiny", "glyphs-contrastive-0")]
    assert [c.digest for c in folds(split={"validation_classes": 7})] == [c.digest for c in runs]
    assert not {c.digest for c in folds(split={"folds": 2}, mlrc={"fold": [0, 1]})} & {c.digest for c in runs}
    assert not {c.digest for c in folds(train={"momentum": 0.9})} & {c.digest for c in runs}


REFUSED = [
    ({"split": {"folds": 0}}, r"split\.folds: expected at least 2 with mlrc.*found 0"),
    ({"mlrc": {"fold": [0, 1]}}, r"mlrc\.fold: expected \[0, 1, 2, 3\], since split\.folds is 4; found \[0, 1\]"),
    ({"mlrc": {"fold": []}}, r"mlrc\.fold: .*empty list"),
    ({"mlrc": {"field": ["pfmll"]}}, r"mlrc\.field: unknown method 'pfmll'; did you mean pfml"),
    ({"mlrc": {"baseline": ["hist_"]}}, r"mlrc\.baseline: unknown method 'hist_'; did you mean hist\?"),
    ({"mlrc": {"field": ["pfml", "pfml"]}}, r"mlrc\.field: expected each method once"),
    ({"mlrc": {"field": [], "baseline": []}}, r"at least one method there or under mlrc"),
    ({"train": {"hold_out": False, "select": "last", "patience": 0}}, r"train\.hold_out: expected true with mlrc"),
    ({"train": {"batch": 320}}, r"train\.batch: 320 with 4 images_per_class needs 80 classes, glyphs has 75"),
]


@pytest.mark.parametrize("changes, message", REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_run_is_refused(folds, changes, message):
    with pytest.raises(ConfigError, match=message) as error:
        folds(**changes)
    assert "\n" not in str(error.value)


@pytest.fixture
def workspace(tmp_path, folds, monkeypatch):
    """A folder with params.yaml and 24 small classes, 12 of which train, in four folds of three."""
    runs = folds(train={"epochs": 6, "steps_per_epoch": 3, "batch": 20, "eval_every": 1}, tracking={"enabled": False})
    raw, rng = tmp_path / "data/raw/glyphs", np.random.default_rng(0)
    raw.mkdir(parents=True)
    labels = np.repeat(np.arange(24), 6)
    patterns = rng.integers(0, 256, (24, 16, 16, 3))
    images = np.clip(patterns[labels] + rng.normal(0, 60, (144, 16, 16, 3)), 0, 255).astype(np.uint8)
    np.save(raw / "images.npy", images)
    (raw / "meta.json").write_text(json.dumps({"digest": "d" * 64}))
    fold = np.where(labels < 12, (labels // 3 + 1) % 4, -1)  # as pfml.labels.folds has it
    split = pd.DataFrame(
        {"item": range(144), "class_id": labels, "split": np.where(labels < 12, "train", "test"),
         "validation": False, "fold": fold}
    )  # fmt: skip
    (tmp_path / "data/split").mkdir()
    split.to_csv(tmp_path / "data/split/glyphs.csv", index=False)
    write_plan(load_params(tmp_path / "params.yaml"), tmp_path / "data/plan")
    monkeypatch.chdir(tmp_path)
    return tmp_path, runs


def pixels(half):
    return [image.numpy().tobytes() for image in half.pictures.images]


def test_a_fold_trains_on_three_quarters_of_the_classes_and_validates_on_the_other(workspace):
    folder, runs = workspace
    images = [image.transpose(2, 0, 1).tobytes() for image in np.load(folder / "data/raw/glyphs/images.npy")]
    seen = []
    for run in runs[:4]:
        data = load_run_data(run)
        train, validation, test = map(pixels, (data.train, data.validation, data.test))
        assert sorted(train + validation) == sorted(images[:72]) and not set(train) & set(validation)
        assert test == images[72:] and data.num_classes == 9 and data.validation.num_classes == 3
        assert np.bincount(data.train.labels).tolist() == [6] * 9, "numbered anew, true labels"
        seen += validation
    assert sorted(seen) == sorted(images[:72]), "every class validates once"


def test_a_split_without_the_fold_is_refused(workspace):
    folder, runs = workspace
    path = folder / "data/split/glyphs.csv"
    table = pd.read_csv(path)
    table.drop(columns="fold").to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"fold: expected one of \[\], found 0"):
        load_run_data(runs[0])
    table.assign(fold=table["fold"].replace(3, -1)).to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"fold: expected one of \[0, 1, 2\], found 3"):
        load_run_data(runs[3])


def trained(folder, name):
    command = [sys.executable, ROOT / "stages/train.py", name]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "DVC_ROOT": str(folder)}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


def test_the_test_half_decides_nothing_and_is_measured_at_the_end(workspace):
    folder, runs = workspace
    run, raw = find_run(runs, "glyphs-pfml-0-fold-1"), folder / "data/raw/glyphs/images.npy"
    model = folder / run.paths().model
    outputs, tests = [], []
    for _ in range(2):
        trained(folder, run.name)
        history = pd.read_csv(model / "history.csv")
        assert {"val_recall@1", "val_map@r"} < set(history) and not {"recall@1", "map@r"} & set(history)
        saved, record = np.load(model / "embeddings.npz"), json.loads((model / "run.json").read_text())
        assert (
            record["selected_epoch"] == history["epoch"][history["val_map@r"].argmax()]
            and record["digest"] == run.digest
        )
        assert saved["test_labels"].tolist() == np.repeat(range(12), 6).tolist() and len(saved["train"]) == 54
        outputs.append((history.to_csv(), (model / "model.safetensors").read_bytes()))
        outputs[-1] += (saved["train"].tobytes(),)
        tests.append(saved["test"])
        images = np.load(raw)
        images[72:] = np.random.default_rng(1).permutation(images[72:])  # another test half
        np.save(raw, images)
    assert outputs[0] == outputs[1], "history, chosen epoch and network know nothing of it"
    assert not np.array_equal(*tests)


def angles(*degrees):
    """Points on the circle, of lengths that must not matter."""
    turns = np.deg2rad(degrees)
    return (np.stack([np.cos(turns), np.sin(turns)], axis=1) * [[1], [2], [0.5], [3]]).astype(np.float32)


def test_joined_networks_have_the_mean_of_their_cosines():
    joined = concatenated([np.array([[3.0, 0.0], [0.0, 2.0]]), np.array([[0.0, 1.0], [0.0, 5.0]])])
    half = 0.5**0.5
    assert joined == pytest.approx(np.array([[half, 0, 0, half], [0, half, 0, half]]))
    assert joined[0] @ joined[1] == pytest.approx((0 + 1) / 2)


def write_fold(run, test, epochs=3, selected=2):
    folder = run.paths().model
    folder.mkdir(parents=True)
    labels = np.array([0, 0, 1, 1])
    np.savez(folder / "embeddings.npz", test=test, test_labels=labels, train=test, train_labels=labels)
    record = {"digest": run.digest, "config": run.config, "inputs": inputs_digest(run), "dataset_digest": "d",
           "weights": "f" * 16, "epochs": epochs, "selected_epoch": selected}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    lines = [
        "epoch,loss,lr,val_recall@1,val_map@r",
        *(f"{e},1,0.1,0.5,0.{e}" for e in range(1, epochs + 1)),
    ]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")


# Classes a, a, b, b. In each network the third point (then the first) is nearest to one of the other class, at 90
# degrees where its own is at 120; the mean of the two networks' cosines puts all four right.
FIRST, SECOND = angles(0, 10, 100, 220), angles(100, 220, 0, 10)


def test_separated_is_the_mean_of_the_networks_and_concatenated_their_joint_measure(workspace):
    folder, runs = workspace
    parts = [FIRST, SECOND, FIRST, SECOND]
    for k, (run, part) in enumerate(zip(runs[:4], parts)):
        write_fold(run, part, selected=1 + k % 3)
    found = evaluate_folds(runs[:4])
    assert [found[f"fold{k}_recall@1"] for k in range(4)] == [0.75] * 4
    assert found["separated_recall@1"] == 0.75 and found["concatenated_recall@1"] == 1.0
    own = [retrieval_metrics(part, [0, 0, 1, 1])["map@r"] for part in parts]
    assert found["separated_map@r"] == pytest.approx(np.mean(own), abs=1e-6)
    assert found["concatenated_map@r"] == found["concatenated_r_precision"] == 1.0
    assert (found["folds"], found["epochs"]) == (4, 12)
    assert [found[f"fold{k}_val_map@r"] for k in range(4)] == [0.1, 0.2, 0.3, 0.1]
    assert [found[f"fold{k}_digest"] for k in range(4)] == [run.digest for run in runs[:4]]
    path = folder / "reports/runs/tiny/mlrc/glyphs-pfml-0.json"
    assert json.loads(path.read_text()) == found and not any(isinstance(v, dict | list) for v in found.values())
    rows = list(csv.DictReader(path.with_suffix(".csv").open()))
    assert [(row["fold"], row["epoch"]) for row in rows] == [(str(k), str(e)) for k in range(4) for e in (1, 2, 3)]


def test_folds_of_another_configuration_or_test_half_are_refused(workspace):
    folder, runs = workspace
    for run in runs[:4]:
        write_fold(run, FIRST)
    path = folder / runs[2].paths().model
    record = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(record | {"config": record["config"] | {"fold": 1}}))
    with pytest.raises(ValueError, match=r"models/folds/glyphs/pfml-0/2/run\.json: trained with configuration"):
        evaluate_folds(runs[:4])
    (path / "run.json").write_text(json.dumps(record))
    np.savez(path / "embeddings.npz", test=FIRST, test_labels=np.array([0, 1, 1, 0]))
    with pytest.raises(ValueError, match="glyphs-pfml-0: its folds were measured on different test halves"):
        evaluate_folds(runs[:4])


def test_an_unknown_cross_validation_is_answered_with_those_there_are(workspace):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, ROOT / "stages/evaluate_folds.py", "glyphs-pfml-7"]
    found = subprocess.run(command, cwd=workspace[0], env=environment, capture_output=True, text=True)
    assert found.returncode == 2 and "the nearest is 'glyphs-pfml-0'" in found.stderr
