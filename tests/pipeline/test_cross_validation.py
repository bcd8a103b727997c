"""The MLRC protocol through the real pipeline: real DVC and MLflow, two methods in two folds, no single runs."""

import csv
import json
import re
import sys

import pytest

from tests.pipeline.clones import REPRO, clone, commit, sh

pytestmark = [pytest.mark.pipeline, pytest.mark.long]
ABLATION = {"points": []}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = clone(
        tmp_path_factory.mktemp("clone"), study="mlrc-tiny", ablation=ABLATION, split={"folds": 2},
        grid={"field": [], "baseline": [], "noise": [0.0]},
        mlrc={"field": ["pfml"], "baseline": ["contrastive"], "fold": [0, 1]},
        train={"eval_every": 1, "hold_out": True, "select": "best_validation", "patience": 1},
        tune={"method": []},
    )  # fmt: skip
    assert "done in" in sh(folder, *REPRO)
    commit(folder, "results")
    return folder


def result(project, method):
    return json.loads((project / f"reports/runs/mlrc-tiny/mlrc/glyphs-{method}-0.json").read_text())


def table(project, number):
    section = (project / "reports/tables.md").read_text().split(f"## Table {number}\n")[1].split("\n## ")[0]
    return {line.split(" | ")[0].strip("| "): line for line in section.splitlines() if line.startswith("| ")}, section


def test_two_folds_of_two_methods_become_two_rows_of_table_6(project):
    assert sorted(str(p.relative_to(project / "models/folds")) for p in project.glob("models/folds/**/run.json")) == [
        f"glyphs/{method}-0/{fold}/run.json" for method in ("contrastive", "pfml") for fold in (0, 1)
    ]
    for method in ("pfml", "contrastive"):
        found = result(project, method)
        for name in ("recall@1", "map@r"):
            own = [found[f"fold{k}_{name}"] for k in (0, 1)]
            assert found[f"separated_{name}"] == pytest.approx(sum(own) / 2, abs=1e-6)
            assert 0 < found[f"concatenated_{name}"] < 1
        assert (found["dim"], found["concatenated_dim"]) == (64, 128)
        rows = list(csv.DictReader((project / f"reports/runs/mlrc-tiny/mlrc/glyphs-{method}-0.csv").open()))
        assert [row["fold"] for row in rows] == ["0", "0", "1", "1"] and "recall@1" not in rows[0]
        chosen = [max(map(float, (r["val_map@r"] for r in rows if r["fold"] == k))) for k in "01"]
        assert [found[f"fold{k}_val_map@r"] for k in (0, 1)] == pytest.approx(chosen)
    rows, section = table(project, 6)
    assert "**Study `mlrc-tiny`**: glyphs, conv3, 2 folds, 64 dimensions separated and 128 concatenated" in section
    assert "Not comparable with any published number: glyphs is no dataset" in section
    assert f"{100 * result(project, 'pfml')['separated_map@r']:.2f}" in rows["PFML"]
    assert "Study `" not in table(project, 7)[1], "the same numbers once"
    assert (project / "reports/figures/gallery-glyphs.png").exists()
    assert list(csv.DictReader((project / "reports/results.csv").open())) == [], "no single runs"


def test_every_fold_has_a_finished_run_in_mlflow(project):
    code = (
        "from pfml.tracking.mlflow import open_store; from pfml.tracking.register import all_runs; import json\n"
        "c, e = open_store('pfml-mlrc-tiny')\n"
        "print('RUNS' + json.dumps([(r.info.status, r.data.tags['config_digest'], r.data.metrics)"
        " for r in all_runs(c, e)]))"
    )
    runs = json.loads(sh(project, sys.executable, "-c", code).split("RUNS")[1])
    found = {digest: metrics for status, digest, metrics in runs if status == "FINISHED"}
    for method in ("pfml", "contrastive"):
        for k in (0, 1):
            metrics, wanted = found.pop(result(project, method)[f"fold{k}_digest"]), result(project, method)
            assert metrics["final/map_at_r"] == wanted[f"fold{k}_map@r"]
            assert metrics["final/concatenated_map_at_r"] == wanted["concatenated_map@r"]
            assert {"val_map_at_r", "loss"} <= set(metrics) and "map_at_r" not in metrics
    assert not found


def test_a_second_run_does_nothing(project):
    assert "up to date" in sh(project, *REPRO) and not sh(project, "git", "status", "--porcelain")


def render(project):
    sh(project, "dvc", "repro", "--quiet", "--force", "--single-item", "report")


def test_a_method_that_is_no_longer_asked_for_is_named_and_in_no_row(project):
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("mlrc:\n  field:\n  - pfml\n", "mlrc:\n  field: []\n"))
    render(project)
    rows, section = table(project, 6)
    assert "PFML" not in rows and "Contrastive" in rows
    assert "Outside the present configuration, in no row: `mlrc-tiny/glyphs-pfml-0`." in section
    sh(project, "git", "checkout", "-q", ".")


def test_a_missing_result_empties_its_row_alone(project):
    (project / "reports/runs/mlrc-tiny/mlrc/glyphs-pfml-0.json").unlink()
    render(project)
    rows, _ = table(project, 6)
    assert re.fullmatch(r"\| PFML \|(  \|){7}", rows["PFML"])
    assert "|  |" not in rows["Contrastive"]
    sh(project, "git", "checkout", "-q", ".")
