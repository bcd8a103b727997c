"""A training stage as the real process that DVC starts: killed, interrupted, orphaned, started twice."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml

from pfml.labels.held_out import labels_without_held_out
from pfml.settings.plan import read_run
from tests.conftest import ROOT
from tests.training.stage_process import finish, outputs, plan, start, wait_for_epoch


@pytest.mark.long
def test_killed_again_and_again_it_ends_as_if_never_touched(workspace):
    calm, rough = workspace("calm", 12), workspace("rough", 12)  # long enough epochs to be met inside
    finish(start(calm))
    for epoch, delay in ((1, 0.0), (3, 0.03), (6, 0.07)):
        process = start(rough)
        wait_for_epoch(process, epoch)
        time.sleep(delay)
        process.kill()
        process.communicate()
    assert "goes on after epoch" in finish(start(rough))
    assert outputs(calm) == outputs(rough)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_interrupt_ends_with_130_and_keeps_the_checkpoint(workspace, number):
    folder = workspace("a")
    process = start(folder)
    wait_for_epoch(process, 2)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped in epoch" in err
    assert "goes on after epoch" in finish(start(folder))


@pytest.mark.parametrize("changed", ["labels", "images"])
def test_a_checkpoint_of_other_data_is_not_continued(workspace, changed):
    folder = workspace("a")
    process = start(folder)
    wait_for_epoch(process, 2)
    process.kill()
    process.communicate()
    manifest = folder / "data/noise/glyphs-0.2-0.csv"
    table = pd.read_csv(manifest)
    table.loc[0, "noisy_label"] = 5
    if changed == "labels":
        table.to_csv(manifest, index=False)
    else:
        (folder / "data/raw/glyphs/meta.json").write_text(json.dumps({"digest": "e" * 64}))
    assert "goes on" not in finish(start(folder))


def test_an_orphan_stops_by_itself(workspace):
    """DVC killed alone leaves its stage behind; the stage must not train on."""
    folder = workspace("a", steps=100)
    (folder / "dvc").write_text("import subprocess, sys; subprocess.run(sys.argv[1:])")
    parent = subprocess.Popen(
        [sys.executable, "dvc", sys.executable, str(ROOT / "stages/train.py"), "glyphs-pfml-0.2-0"], cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "DVC_ROOT": str(folder), "DVC_STAGE": "train"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for_epoch(parent, 2)
    parent.kill()
    err = parent.stderr.read()  # ends when the last process that holds the pipe has ended
    assert "the pipeline that started this run is gone" in err
    assert not (folder / "models").exists()


def test_the_same_configuration_is_trained_by_one_process_at_a_time(workspace):
    folder = workspace("a", steps=100)
    first = start(folder)
    wait_for_epoch(first, 1)
    second = start(folder)
    out = finish(second)
    assert "waits for another process" in out
    finish(first)


def test_held_out_classes_are_what_is_measured(workspace, tiny, write):
    folder = workspace("a")
    tiny["train"]["hold_out"], tiny["split"]["validation_classes"] = True, 2
    write(tiny, folder)
    plan(folder)
    manifest = folder / "data/noise/glyphs-0.2-0.csv"
    table = pd.read_csv(manifest)
    table["validation"] = table["true_label"].isin([3, 7]) & (table["split"] == "train")
    labels_without_held_out(table, "uniform", 0.0, 0).to_csv(manifest, index=False)
    finish(start(folder))
    model = folder / "models/grid/glyphs/pfml-0.2-0"
    saved = np.load(model / "embeddings.npz")
    assert saved["test_labels"].tolist() == [0] * 8 + [1] * 8, "the two validation classes, not the test half"
    assert set(saved["train_labels"]) == set(range(10)) and saved["proxies"].shape[0] == 10
    assert "recall@1" in pd.read_csv(model / "history.csv").columns


METHODS = {"diva": {"memory": 60, "separation": 20.0}, "drml_pa": {}, "htl": {"together": 2}}  # more than a loss


@pytest.mark.long
@pytest.mark.parametrize("loss", ["pfml", "proxy_nca", "diva", "drml_pa", "htl"])
def test_two_processes_end_like_one(workspace, tiny, write, loss):
    """torchrun and gloo: half of every batch each, one loss over both; equal but for the order of sums."""
    calm = {"lr": 1e-3, "proxy_lr": 0.03}  # rates at which the rounding of another order of sums does not grow
    tiny["field"]["pfml"]["train"] |= {"freeze_bn": "statistics", "frozen_epochs": 1, "ema": 0.5} | calm
    tiny["baseline"]["proxy_nca"]["train"] |= {"freeze_bn": "statistics", "lr": 1e-3}
    if loss in METHODS:
        tiny["grid"]["baseline"] = [loss]
        tiny["baseline"][loss]["loss"] |= METHODS[loss]
        tiny["baseline"][loss]["train"] = {"freeze_bn": "statistics", "lr": 2e-4, "proxy_lr": 0.003}
    one, two = workspace("one"), workspace("two")
    outs = [finish(start(one, loss)), finish(start(two, loss, PFML_PROCESSES="2"))]
    assert [out.count("epoch   8/8") for out in outs] == [1, 1]
    models = [folder / f"models/grid/glyphs/{loss}-0.2-0" for folder in (one, two)]
    origins = [pd.read_csv(folder / "reports/provenance/tiny.csv") for folder in (one, two)]
    assert [list(origin.processes) for origin in origins] == [[1], [2]]
    single, joint = (dict(np.load(model / "embeddings.npz")) for model in models)
    assert (single["train_labels"] == joint["train_labels"]).all() and single["test"].shape == joint["test"].shape
    assert (single["passed_labels"] == joint["passed_labels"]).all()
    bound = 0.02 if loss == "diva" else 3e-3  # a draw beside a bound may fall on the other side
    for name in ("test", "train", "passed", "proxies"):
        scale = np.abs(single[name]).max(initial=1e-9)
        assert np.abs(single[name] - joint[name]).max(initial=0) < bound * scale, name
    first, second = (pd.read_csv(model / "history.csv") for model in models)
    assert np.allclose(first["loss"], second["loss"], rtol=1e-3)
    assert np.allclose(first["map@r"], second["map@r"], atol=0.01, equal_nan=True)


def test_two_processes_measure_the_network_that_they_write(workspace, tiny, monkeypatch):
    """Each keeps running statistics of its own half of the batches; the first one's are written."""
    import torch
    from safetensors.torch import load_file

    from pfml.training.batches.run_data import load_run_data
    from pfml.training.measure import embed
    from pfml.training.networks.model import build_model

    tiny["train"]["freeze_bn"] = "none"
    folder = workspace("two")
    finish(start(folder, PFML_PROCESSES="2"))
    monkeypatch.chdir(folder)
    run = read_run("glyphs-pfml-0.2-0")
    model, data = build_model(**run.model), load_run_data(run)
    model.load_state_dict(load_file(run.paths().model / "model.safetensors"))
    saved = np.load(run.paths().model / "embeddings.npz")
    for name in ("train", "test"):
        found = embed(model, getattr(data, name).pictures)
        assert torch.allclose(found, torch.from_numpy(saved[name]), rtol=1e-4, atol=1e-5), name


@pytest.mark.long
def test_several_processes_killed_go_on_as_several(workspace, tiny):
    tiny["field"]["pfml"]["train"]["freeze_bn"] = "statistics"
    calm, rough = workspace("calm"), workspace("rough")
    finish(start(calm, PFML_PROCESSES="2"))
    process = start(rough, PFML_PROCESSES="2")
    wait_for_epoch(process, 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert "goes on after epoch" in finish(start(rough, PFML_PROCESSES="2"))
    assert outputs(calm) == outputs(rough)


def test_a_run_does_not_go_on_from_a_checkpoint_of_other_looks_at_wrong_labels(workspace):
    """Else one history would hold looks of two rhythms."""
    folder = workspace("looks")
    process = start(folder)
    wait_for_epoch(process, 2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    params = folder / "params.yaml"
    raw = yaml.safe_load(params.read_text())
    params.write_text(yaml.safe_dump(raw | {"memorisation": {"every": raw["memorisation"]["every"] + 1}}))
    plan(folder)
    for goes_on in (False, True):
        process = start(folder)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "epoch   2/8" in line or "epoch   3/8" in line:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert any("goes on after epoch" in line for line in lines) == goes_on
