"""`pfml grid --on ray`: a real Ray cluster of two node processes on this machine, one of which is killed."""

import csv
import re
import shutil
import subprocess
import sys
import time

import pytest
import yaml

from tests.launch.clusters import WHERE, log_of, results, run_grid, start_grid, trained_in
from tests.pipeline.clones import ENVIRONMENT, REPRO, sh

pytest.importorskip("ray", reason="the package ray is not installed (make engines)")
pytestmark = [pytest.mark.long, pytest.mark.pipeline]


def test_a_killed_node_loses_nothing_and_the_tables_are_those_of_one_machine(alone, driver, cluster, tmp_path):
    found, nodes = cluster
    process = start_grid(driver, found.address)
    while process.poll() is None and not list((tmp_path / "a").glob(".checkpoints/*/state.pt")):
        time.sleep(0.2)
    found.remove_node(nodes[0], allow_graceful=False)  # in mid-run: a first epoch is saved
    assert process.wait(timeout=900) == 0, log_of(driver).read_text()[-3000:]
    said = log_of(driver).read_text()
    assert results(driver) == results(alone)
    assert trained_in(driver).keys() == trained_in(alone).keys(), "every run's origin came back"
    places = [*(tmp_path / "b").glob("*/dvc.yaml")]
    assert len(places) == 1, "one tree on a node"
    assert "Running stage 'train" not in said, "nothing was trained here"
    for name in trained_in(driver):  # a run that was finished on one node was not trained on the other
        homes = [node for node in "ab" if list((tmp_path / node).glob(f"*/.provenance/{name}.json"))]
        assert len(homes) == 1, name
    sh(driver, *REPRO)
    assert results(driver) == results(alone), "a plain run afterwards finds everything up to date"


def test_a_driver_that_is_killed_goes_on_where_its_nodes_were(alone, driver, cluster, tmp_path):
    found, _ = cluster
    process = start_grid(driver, found.address)
    while process.poll() is None and not list(tmp_path.glob("[ab]/.checkpoints/*/state.pt")):
        time.sleep(0.2)
    process.kill()
    process.wait()
    run_grid(driver, found.address)
    assert results(driver) == results(alone)
    assert trained_in(driver).keys() == trained_in(alone).keys()


def test_a_failing_run_is_named_and_does_not_stop_the_others(driver, cluster, tmp_path):
    found, _ = cluster
    params = driver / "params.yaml"
    good = params.read_text()
    raw = yaml.safe_load(good)
    raw["baseline"]["contrastive"]["train"]["lr"] = 1e30
    params.write_text(yaml.safe_dump(raw, sort_keys=False))
    said = run_grid(driver, found.address, code=1)
    assert "failed: 2 runs; the others are finished and kept" in said
    assert re.search(r"glyphs-contrastive-0\.2-0: exit code \d+ on .*(\n .*)*became NaN or infinite", said)
    names = {path.stem for path in (driver / "reports/runs/tiny").glob("*.json")}
    assert names == {"glyphs-pfml-0.0-0", "glyphs-pfml-0.2-0"}
    params.write_text(good)
    run_grid(driver, found.address)
    assert {path.stem for path in (driver / "reports/runs/tiny").glob("*.json")} > names


def test_a_search_on_nodes_has_the_random_trials_of_one_machine(driver, cluster):
    found, _ = cluster
    params = driver / "params.yaml"
    raw = yaml.safe_load(params.read_text())
    raw["tune"] |= {"method": ["contrastive"], "trials": 10, "noise": [0.2]}
    raw["grid"] |= {"field": ["pfml"], "baseline": ["contrastive"], "noise": [0.2]}
    raw["train"]["epochs"] = 2
    params.write_text(yaml.safe_dump(raw, sort_keys=False))
    said, file = run_grid(driver, found.address), driver / "reports/tuning/glyphs/contrastive.csv"
    on_nodes = file.read_text().splitlines()
    assert len(on_nodes) == 11 and "contrastive: 8 trials, best validation MAP@R" in said
    assert "trial 9 of 10" not in said, "the stage tune had nothing left to train"
    file.unlink()
    sh(driver, "dvc", "repro", "--force", "--single-item", "tune@contrastive")
    alone = file.read_text().splitlines()
    assert on_nodes[:9] == alone[:9], "the published start and seven random trials, settings and scores"
    settings = [line.partition("{")[2] for line in on_nodes[9:]]
    assert len(set(settings)) == 2, "two proposals side by side differ"


def test_a_sweep_on_nodes_keeps_every_point_as_an_experiment(driver, cluster):
    found, _ = cluster
    sweep = (sys.executable, "-m", "pfml", "sweep", "-S", "loss.alpha=1,2", "-S", "train.epochs=2", "--on", "ray")
    done = subprocess.run(
        [*sweep, "--address", found.address], cwd=driver, env=ENVIRONMENT | {"PYTHONPATH": WHERE}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    names = {line.split("\t")[-1] for line in sh(driver, "dvc", "exp", "list", "--name-only").split()}
    assert names == {"alpha-1_epochs-2", "alpha-2_epochs-2"}
    rows = list(csv.DictReader((driver / "reports/sweeps/alpha-epochs.csv").open()))
    assert {(row["loss.alpha"], row["noise"]) for row in rows} == {
        ("1", "0.0"),
        ("1", "0.2"),
        ("2", "0.0"),
        ("2", "0.2"),
    }
    logs = "".join(path.read_text() for path in (driver / ".studies").glob("*.log"))
    assert "Running stage 'train" not in logs, "the nodes trained"


def test_jobs_of_submitit_give_the_same_study(alone, driver, tmp_path):
    """Its local executor in the place of Slurm, which none of our machines has. All see one cache of DVC."""
    pytest.importorskip("submitit", reason="the package submitit is not installed")
    sh(driver, "dvc", "remote", "remove", "--local", "store")
    sh(driver, "dvc", "cache", "dir", "--local", str(tmp_path / "cache"))
    code = (
        "from pfml.launch.grid import grid; from pfml.launch.engines.on_slurm import SlurmEngine; "
        "from pfml.settings.load import load_params; grid(load_params(), SlurmEngine('local'), (2, 2))"
    )
    variables = ENVIRONMENT | {"PYTHONPATH": WHERE, "PFML_NODE_DIR": str(tmp_path / "node")}
    done = subprocess.run([sys.executable, "-c", code], cwd=driver, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"job \S+: glyphs-pfml-0\.2-0 +epoch +12/12", done.stdout), "the lines of a job's log"
    assert results(driver) == results(alone)
    assert trained_in(driver).keys() == trained_in(alone).keys()


def test_without_a_way_to_share_data_nothing_starts(driver, cluster):
    found, _ = cluster
    shutil.rmtree(driver / ".dvc/tmp", ignore_errors=True)
    (driver / ".dvc/config.local").unlink()
    assert "give DVC a default remote that all of them reach" in run_grid(driver, found.address, code=2)
    assert yaml.safe_load((driver / "params.yaml").read_text())["study"] == "tiny"
