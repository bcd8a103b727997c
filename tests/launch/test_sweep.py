"""`pfml sweep`: the points of a sweep, and a sweep with the real DVC, whose points are experiments of the project."""

import csv
import json
import subprocess
import sys

import pytest
import yaml

from pfml.launch.sweep.points import axes_of, points_of
from pfml.settings import ConfigError
from tests.conftest import ROOT
from tests.pipeline.clones import ENVIRONMENT, REPRO, clone, commit, sh

PARAMS = (ROOT / "params.yaml").read_text()


def test_values_are_ranges_lists_and_lists_in_brackets():
    axes = axes_of(["loss.alpha=-1..2", "loss.delta_rep=0.2,auto,null", "grid.noise=[0.0,0.2],[0.2]"])
    assert axes == {
        "loss.alpha": [-1, 0, 1, 2],
        "loss.delta_rep": [0.2, "auto", None],
        "grid.noise": [[0.0, 0.2], [0.2]],
    }


@pytest.mark.parametrize(
    "settings, said",
    [
        (["loss.alpha"], "-S loss.alpha: expected SETTING=VALUES"),
        (["alpha=1"], "-S alpha=1: expected SETTING=VALUES"),
        (["loss.alpha=3..1"], "expected the lower end first, found 3..1"),
        (["loss.alpha=1,"], "-S loss.alpha=1,: expected values with commas between them, found ''"),
        (["loss.alpha=1,1"], "a value is there twice"),
        (["loss.alpha=1", "loss.alpha=2"], "loss.alpha is there twice"),
    ],
)
def test_what_is_no_list_of_values_is_refused(settings, said):
    with pytest.raises(ConfigError) as error:
        axes_of(settings)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "settings, said",
    [
        (["loss.alpha=1,-2"], "loss.alpha"),
        (["loss.alhpa=1"], "loss.alhpa"),
        (["losses.alpha=1"], "params.yaml has no section losses"),
        (
            ["loss.alpha=1..40", "loss.delta=0.01,0.02,0.03,0.04,0.05", "grid.seed=[0],[1],[2],[3],[4],[5]"],
            "found 1200",
        ),
        (["report.pages=1"], "report"),
        (["tracking.experiment=mine"], "no run of grid.field and grid.baseline reads tracking.experiment"),
    ],
)
def test_what_params_yaml_cannot_have_is_refused_before_anything_runs(settings, said):
    with pytest.raises(ConfigError) as error:
        points_of(PARAMS, axes_of(settings))
    assert said in str(error.value)


def test_a_point_has_the_methods_that_the_sweep_reaches_and_nothing_else():
    points = points_of(PARAMS, axes_of(["loss.alpha=2,3", "loss.delta_rep=null,0.6"]))
    names = ["alpha-2_delta_rep-None", "alpha-2_delta_rep-0.6", "alpha-3_delta_rep-None", "alpha-3_delta_rep-0.6"]
    assert [point.name for point in points] == names
    raw = yaml.safe_load(PARAMS)
    for point in points:
        assert point.params.grid.field and "pfml_tuned" not in point.params.grid.field, "it has an alpha of its own"
        assert point.params.grid.baseline == [] and point.params.ablation.points == []
        assert point.params.grid.noise == raw["grid"]["noise"]
        assert yaml.safe_load(point.text)["loss"] == raw["loss"] | {
            key.partition(".")[2]: value for key, value in point.values.items()
        }
    assert [
        point.params.grid.baseline for point in points_of(PARAMS, axes_of(["baseline.proxy_anchor.loss.scale=8,16"]))
    ] == [["proxy_anchor"]] * 2


def test_points_whose_names_would_be_equal_are_numbered():
    first, second = points_of(PARAMS, axes_of(["grid.noise=[0.2],[0.2,0.0]", "loss.alpha=2"]))
    assert first.name != second.name and "/" not in first.name + second.name


@pytest.mark.long
@pytest.mark.pipeline
def test_a_sweep_leaves_experiments_a_table_and_a_figure_and_goes_on_after_a_failure(tmp_path):
    small = {"ablation": {"points": []}, "tune": {"method": []}, "complexity": {"baseline": []}}
    clone(tmp_path, grid={"noise": [0.2]}, tracking={"enabled": False}, **small)
    sh(tmp_path, *REPRO)
    commit(tmp_path, "the study")
    before = {name: (tmp_path / name).read_bytes() for name in ("params.yaml", "dvc.lock", "reports/tables.md")}
    sweep = (sys.executable, "-m", "pfml", "sweep", "-S", "loss.alpha=3,1", "-S", "field.pfml.train.lr=0.001,1e30")
    broken = subprocess.run([*sweep, "-j2"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert broken.returncode == 1 and "failed: 2 of 4 points (alpha-" in broken.stderr
    assert "became NaN or infinite" in broken.stdout, "the last lines of what failed"
    rows = list(csv.DictReader((tmp_path / "reports/sweeps/alpha-lr.csv").open()))
    assert [(row["loss.alpha"], row["method"], row["noise"]) for row in rows] == [
        ("3", "pfml", "0.2"),
        ("1", "pfml", "0.2"),
    ]
    table = (tmp_path / "reports/sweeps/alpha-lr.md").read_text()
    assert (
        f" {100 * float(rows[1]['recall@1']):.1f} |" in table and (tmp_path / "reports/sweeps/alpha-lr.png").is_file()
    )
    shown = json.loads(sh(tmp_path, "dvc", "exp", "show", "--json").partition("[")[2].join(["[", ""]))
    found = {exp["revs"][0]["name"]: exp["revs"][0]["data"] for exp in shown[1]["experiments"]}
    assert found.keys() == {"alpha-3_lr-0.001", "alpha-1_lr-0.001"}
    for name, alpha in (("alpha-3_lr-0.001", 3), ("alpha-1_lr-0.001", 1)):
        assert found[name]["params"]["params.yaml"]["data"]["loss"]["alpha"] == alpha
        measured = found[name]["metrics"]["reports/summary.json"]["data"]["glyphs"]["pfml"]
        row = next(row for row in rows if row["experiment"] == name)
        assert measured["noise 0.2"] == pytest.approx(100 * float(row["recall@1"]), abs=0.01)
    assert before == {name: (tmp_path / name).read_bytes() for name in before}, "the project is as it was"

    again = sh(tmp_path, *sweep[:-1], "field.pfml.train.lr=0.001")
    assert "2 of 2: " in again and "failed" not in again
    for log in (tmp_path / ".studies").glob("sweep-alpha-lr-*lr-0.001.log"):
        assert "Running stage" not in log.read_text(), "nothing was stale"
    sh(tmp_path, "dvc", "exp", "apply", "alpha-1_lr-0.001")
    assert yaml.safe_load((tmp_path / "params.yaml").read_text())["loss"]["alpha"] == 1
    assert (tmp_path / "models/grid/glyphs/pfml-0.2-0").is_dir(), "the network comes from DVC's cache"
