"""What a training takes from its data before the first step, runs that train nothing, and maps of two settings."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import pfml
from pfml.evaluation.maps import make_map, read_map
from pfml.losses.common.radius import pair_distances
from pfml.report.inputs import read_history
from pfml.retrieval import retrieval_metrics
from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.settings.plan import read_plan, read_run
from pfml.settings.run import Run
from pfml.settings.runs import find_run, grid_runs
from pfml.training.networks.heads import Standardize, build_head
from tests.training.test_features import BACKBONE, project, stages

AUTO, ZERO = "birds-pfml-0.2-0", "birds-zero_shot-0.2-0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study on a frozen trunk with standardised features, `delta_rep: auto`, a zero-shot row and a map."""
    folder = project(tmp_path_factory.mktemp("start"), trunk="frozen")
    raw = yaml.safe_load((folder / "params.yaml").read_text())
    raw["grid"] |= {"field": ["pfml"], "baseline": ["zero_shot"], "noise": [0.2]}
    raw["ablation"]["points"] = []
    raw["recipe"]["birds"]["model"]["head"] = "standardize+linear"
    raw["baseline"]["zero_shot"] = {"loss": {}, "train": {}, "model": {"embedding_dim": 1280}}
    raw["field"]["pfml"]["loss"] = {"delta_rep": "auto", "proxies_per_class": 2}
    over = {"radii": {"delta": [0.2, 0.9], "delta_rep": [0.5, 1.0]}}
    raw["map"] = {"draw": ["radii"], "method": "pfml", "noise": 0.2, "seed": 0, "over": over}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    stages(folder, "plan", "fetch", "split", "features")
    for command in ("noise birds-0.2-0", f"train {AUTO}", f"train {ZERO}", f"evaluate {AUTO}", f"evaluate {ZERO}",
                    "map radii"):  # fmt: skip
        done = subprocess.run(
            [sys.executable, f"stages/{command.split()[0]}.py", command.split()[1]], cwd=folder, capture_output=True,
            text=True, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "src", "PFML_TRACEBACK": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


def result(folder: Path, name: str) -> dict:
    return json.loads((folder / f"reports/runs/tiny/{name}.json").read_text())


def test_a_head_standardizes_the_training_halfs_features(folder, monkeypatch):
    monkeypatch.chdir(folder)
    state = load_file(folder / "models/grid/birds/pfml-0.2-0/model.safetensors")
    features = np.load(folder / "data/features/birds/evaluation.npy").astype(np.float64)[:30, :, 0, 0]
    assert np.allclose(state["head.0.mean"], features.mean(0), atol=1e-5)
    deviation = features.std(0)
    assert np.allclose(state["head.0.std"], np.where(deviation > 0, deviation, 1), atol=1e-5)
    model = pfml.load(folder / "models/grid/birds/pfml-0.2-0", "cpu")
    assert isinstance(model.network.head[0], Standardize), "the network that users load has it too"


def test_standardize_by_hand():
    head = build_head(3, 2, "standardize+mlp")
    assert [type(layer).__name__ for layer in head] == ["Standardize", "Linear", "ReLU", "Linear"]
    head[0].fit(torch.tensor([[1.0, 5.0, 2.0], [3.0, 5.0, 6.0]]))
    found = head[0](torch.tensor([[1.0, 5.0, 8.0]]))
    assert torch.allclose(found, torch.tensor([[-1.0, 0.0, 2.0]])), "a constant channel stays finite"


def test_auto_is_a_quantile_of_the_distances_between_classes_at_the_start(folder, monkeypatch):
    monkeypatch.chdir(folder)
    run, found = read_run(AUTO), result(folder, AUTO)
    assert run.loss["delta_rep"] == run.config["loss"]["delta_rep"] == "auto", "the digest has the rule"
    record = json.loads((run.paths().model / "run.json").read_text())
    from pfml.training.batches.run_data import load_run_data
    from pfml.training.measure import embed
    from pfml.training.networks.trunk import build_trained_part
    from pfml.training.start import standardize

    data = load_run_data(run)
    torch.manual_seed(run.seed)
    model = build_trained_part(run, data.train.pictures)
    standardize(model, data.train)
    embeddings = torch.nn.functional.normalize(embed(model, data.train.pictures))
    labels = data.train.labels
    between = [
        float((embeddings[i] - embeddings[j]).norm())
        for i in range(len(labels))
        for j in range(i)
        if labels[i] != labels[j]
    ]
    assert record["loss"]["delta_rep"] == found["delta_rep"] == pytest.approx(np.quantile(between, 0.05), abs=1e-3)
    assert found["start_distance"] == pytest.approx(np.mean(between), abs=1e-4)
    saved = np.load(run.paths().model / "embeddings.npz")
    after = pair_distances(torch.from_numpy(saved["train"]), torch.from_numpy(saved["train_labels"]))[1]
    assert found["end_distance"] == pytest.approx(after.mean().item(), abs=1e-4) and len(after) == len(between)


def test_pair_distances_take_evenly_spaced_images_of_many(monkeypatch):
    monkeypatch.setattr("pfml.losses.common.radius.AT_MOST", 3)
    points = torch.eye(5)
    points[2] = points[4]
    same, other = pair_distances(2 * points, torch.tensor([0, 1, 0, 1, 0]))
    assert len(same) == 3 and not len(other), "images 0, 2 and 4"
    assert same.tolist() == pytest.approx([2**0.5, 2**0.5, 0.0], abs=1e-6)


def test_a_zero_shot_run_measures_the_features_themselves(folder, monkeypatch):
    monkeypatch.chdir(folder)
    run, found = read_run(ZERO), result(folder, ZERO)
    features = np.load("data/features/birds/evaluation.npy").astype(np.float32)[30:, :, 0, 0]
    expected = retrieval_metrics(features, np.repeat(np.arange(3), 10), [1])
    assert found["recall@1"] == pytest.approx(expected["recall@1"], abs=1e-6)
    assert found["map@r"] == pytest.approx(expected["map@r"], abs=1e-6)
    assert (found["epochs"], found["selected_epoch"], found["dim"], found.get("w2")) == (0, 0, 1280, None)
    assert found["backbone"] == f"{BACKBONE}+frozen" and run.model["head"] == "none"
    [row] = read_history(f"reports/runs/tiny/{ZERO}.csv", found["epochs"])  # as the register and the figures read it
    assert row["epoch"] == 0 and row["recall@1"] == pytest.approx(found["recall@1"], abs=1e-6)
    assert not load_file(run.paths().model / "model.safetensors")
    model = pfml.load(run.paths().model, "cpu")
    assert model.embed(sorted(Path("photos/bird 3").glob("*.png"))).shape == (10, 1280)


def test_rates_and_epochs_do_not_change_a_zero_shot_run(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["train"] |= {"lr": 0.5, "weight_decay": 0.1}
    raw["recipe"]["birds"]["train"] |= {"epochs": 9, "batch": 12}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    other = {run.name: run.digest for run in grid_runs(load_params(tmp_path / "params.yaml"))}
    assert other[ZERO] == read_run(ZERO).digest and other[AUTO] != read_run(AUTO).digest


def test_a_map_has_a_training_for_each_point_and_goes_on(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    rows = read_map(Path("reports/maps/tiny-radii.csv"))
    points = [(row["delta"], row["delta_rep"]) for row in rows]
    assert points == [(0.2, 0.5), (0.2, 1.0), (0.9, 1.0)], "none with delta_rep below delta"
    assert all(0 <= row["recall@1"] <= 1 and row["start_distance"] > 0 < row["end_distance"] for row in rows)
    assert Path("reports/figures/map-radii.png").stat().st_size > 5_000
    runs = [(p["point"], Run.from_json(p["run"], "tiny")) for p in read_plan("map/radii")["points"]]
    told, out = [], tmp_path / "map.csv"
    out.write_text("\n".join(Path("reports/maps/tiny-radii.csv").read_text().splitlines()[:3]) + "\n")
    assert make_map(runs, out, told.append) == rows and len(told) == 1, "two points were there"
    assert out.read_text() == Path("reports/maps/tiny-radii.csv").read_text()
    out.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"map\.csv: expected the file of a map"):
        read_map(out)


def test_a_maps_point_is_the_run_of_its_settings(folder, monkeypatch):
    """The same configuration as a run of the grid has the same score."""
    monkeypatch.chdir(folder)
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["field"]["pfml"]["loss"]["delta_rep"] = 1.0
    run = grid_of(raw)[AUTO]
    planned = {json.dumps(p["point"]): p["run"] for p in read_plan("map/radii")["points"]}
    point = Run.from_json(planned[json.dumps({"delta": 0.2, "delta_rep": 1.0})], "tiny")
    same = {key: value for key, value in run.train.items() if key != "eval_every"}
    assert dict(point.loss) == dict(run.loss) and {**point.train, "eval_every": 0} == {**same, "eval_every": 0}


def grid_of(raw: dict) -> dict:
    from pfml.settings.load import params_from

    return {run.name: run for run in grid_runs(params_from(raw, "params.yaml"))}


@pytest.mark.parametrize("change, words", [
    ({"method": "proxy_anchor"}, "map.method: expected a field method"),
    ({"noise": 0.3}, "map.noise: expected a value of grid.noise"),
    ({"draw": ["radi"]}, "map: draw: expected names of map.over"),
    ({"over": {"radii": {"delta": [0.1, 0.2]}}}, "map: over.radii: expected two settings"),
    ({"over": {"radii": {"delta": [0.1, 0.2], "radius": [0.1, 0.2]}}}, "map.over.radii.*radius"),
    ({"over": {"radii": {"delta": [0.1, 0.2], "alpha": [-1.0, 2.0]}}}, "map.over.radii.*alpha"),
])  # fmt: skip
def test_a_map_that_cannot_be_is_refused(folder, change, words):
    raw = yaml.safe_load((folder / "params.yaml").read_text())
    raw["map"] |= change
    with pytest.raises(ConfigError, match=words):
        grid_of(raw)


def test_auto_needs_a_number_where_there_are_no_embeddings(folder, monkeypatch):
    """A gap to delta has no default value, and another word is refused."""
    raw = yaml.safe_load((folder / "params.yaml").read_text())
    raw["field"]["pfml"]["loss"]["delta_rep"] = "automatic"
    with pytest.raises(ConfigError, match=r"field\.pfml\.loss\.delta_rep"):
        grid_of(raw)
    monkeypatch.chdir(folder)
    assert find_run(grid_runs(load_params()), AUTO).loss["delta_rep"] == "auto"


def test_the_radius_is_there_for_users_of_the_loss_alone():
    from pfml.losses import PotentialFieldLoss, radius_at_start

    torch.manual_seed(0)
    embeddings, labels = torch.randn(60, 16), torch.arange(60) % 3
    radius = radius_at_start(embeddings, labels)
    directions = torch.nn.functional.normalize(embeddings)
    other = torch.cdist(directions, directions)[labels[:, None] != labels]
    assert 0.04 < (other < radius).float().mean() < 0.06, "one pair in twenty repels"
    assert PotentialFieldLoss(3, 16, delta_rep=radius)(embeddings, labels).isfinite()
    with pytest.raises(ValueError, match="two classes or more, found one"):
        radius_at_start(embeddings, torch.zeros(60, dtype=torch.long))
