"""The plan: a file for every run and stage, which later stages read instead of params.yaml."""

import json
from dataclasses import fields

import pytest
import yaml

from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.settings.plan import read_plan, read_run
from pfml.settings.planning import write_plan
from pfml.settings.run import Run
from pfml.settings.runs import planned_runs, validation_classes
from pfml.settings.schema import DATASETS
from tests.conftest import ROOT, merge


@pytest.fixture
def planned(tiny, write, tmp_path):
    """Write the plan of the tiny study with changes; returns its params."""

    def _planned(**changes):
        params = load_params(write(merge(tiny, changes)))
        write_plan(params, tmp_path / "plan")
        return params

    return _planned


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.json")}


def test_a_run_comes_back_as_it_was_planned(planned, tmp_path):
    """All that decides its numbers; `delta_rep: null` comes back as the radius that it means."""
    folds = {"train": {"hold_out": True}, "mlrc": {"field": ["pfml"]}}
    for changes in ({}, folds, {"noise": {"kind": "pairflip"}, "train": {"momentum": 0.5}}):
        for run in planned_runs(planned(**changes)):
            back = read_run(run.name, tmp_path / "plan")
            assert back.digest == run.digest and back.config == run.config and back.name == run.name
            assert back.paths().model == run.paths().model and back.paths().result == run.paths().result
            same = {field.name for field in fields(Run)} - {"loss", "validation_classes", "folds", "data", "noise_kind"}
            assert {name: getattr(back, name) for name in same} == {name: getattr(run, name) for name in same}


def test_every_run_of_every_study_survives_the_plan(monkeypatch):
    from pfml.settings.load import params_from
    from pfml.settings.overlay import merge as over
    from pfml.settings.presets import preset_names, read_preset

    monkeypatch.chdir(ROOT)
    base, count = yaml.safe_load((ROOT / "params.yaml").read_text()), 0
    for name in preset_names():
        for run in planned_runs(params_from(over(base, read_preset(name)), name)):
            saved = json.loads(json.dumps(run.as_json()))
            assert Run.from_json(saved, run.study).digest == run.digest
            count += 1
    assert count > 2000


def test_a_plan_that_is_written_again_touches_no_file(planned, tmp_path):
    planned()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "plan").rglob("*.json")}
    planned()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "plan").rglob("*.json")} == before


def test_runs_that_are_no_longer_asked_for_leave_the_plan(planned, tmp_path):
    planned()
    assert "runs/glyphs-contrastive-0.2-0.json" in files(tmp_path / "plan")
    planned(grid={"baseline": ["proxy_nca"]}, ablation={"points": ["alpha-2"]})
    found = files(tmp_path / "plan")
    assert not [name for name in found if "contrastive" in name or "alpha-1" in name]
    assert "runs/glyphs-pfml-0.0-0-alpha-2.json" in found


def test_a_setting_changes_the_files_of_those_that_it_reaches(planned, tmp_path):
    """What DVC runs again: nothing but the runs whose settings moved, and the figures of the losses."""

    def changed(**changes):
        planned()
        before = files(tmp_path / "plan")
        planned(**changes)
        after = files(tmp_path / "plan")
        planned(
            loss={"alpha": 3.0},
            train={"epochs": 2},
            evaluate={"nmi": True},
            wasserstein={"mean": True},
            memorisation={"every": 3},
        )
        return {name for name in before | after if before.get(name) != after.get(name)}

    field = {f"runs/glyphs-{name}.json" for name in (
        "pfml-0.0-0", "pfml-0.2-0", "pfml-0.0-0-delta_gap-0.1", "pfml_tuned-0.0-0")}  # fmt: skip
    assert changed(loss={"alpha": 4.0}) == (field - {"runs/glyphs-pfml_tuned-0.0-0.json"}) | {"loss_figures.json"}
    assert changed(evaluate={"nmi": False}) == changed(wasserstein={"mean": False}) == {"evaluate.json"}
    assert {name.split("/")[0] for name in changed(train={"epochs": 3})} == {"runs"}
    assert {name.split("/")[0] for name in changed(memorisation={"every": 5})} == {"runs"}


def test_a_recipe_wins_over_the_shared_section_in_the_plan_too(planned, tmp_path):
    """So that `-S train.epochs=5` leaves a dataset alone whose recipe sets the epochs."""
    one = planned(recipe={"glyphs": {"train": {"epochs": 3}}})
    before = files(tmp_path / "plan")
    planned(train={"epochs": 5})
    assert files(tmp_path / "plan") == before and planned_runs(one)[0].train["epochs"] == 3


def test_labels_without_the_validation_classes_are_planned_where_a_run_needs_them(planned, tmp_path):
    planned()
    name = "noise/glyphs-0.2-0"
    assert not read_plan(name, tmp_path / "plan")["hold_out"]
    space = [{"method": ["pfml"], "train": {"lr": {"low": 1e-3, "high": 1e-2, "start": 3e-3}}}]
    planned(tune={"method": ["pfml"], "noise": [0.2], "space": space})
    assert read_plan(name, tmp_path / "plan")["hold_out"]
    assert not read_plan("noise/glyphs-0.0-0", tmp_path / "plan")["hold_out"]
    planned(tune={"method": []}, train={"hold_out": True})
    assert read_plan(name, tmp_path / "plan")["hold_out"]


def test_the_split_is_planned_with_the_training_classes_of_the_catalogue(planned, tmp_path):
    from pfml.datasets.catalogue import CATALOGUE

    params = planned()
    found = read_plan("split/glyphs", tmp_path / "plan")
    assert found == {
        "train_classes": 100, "validation_classes": validation_classes(params, "glyphs"), "folds": params.split.folds
    }  # fmt: skip
    assert {name: CATALOGUE[name].train_classes for name in DATASETS} == DATASETS


def test_what_is_not_planned_is_refused_with_the_nearest_name(planned, tmp_path):
    planned()
    with pytest.raises(ConfigError, match=r"asks for no 'glyphs-pfml-0\.3-0'; the nearest is 'glyphs-pfml-0\."):
        read_run("glyphs-pfml-0.3-0", tmp_path / "plan")
    with pytest.raises(ConfigError, match="there is no plan; write it with `dvc repro plan`"):
        read_plan("evaluate", tmp_path / "elsewhere")


@pytest.mark.parametrize("damage, message", [
    (lambda text: text.replace('"alpha": 3.0', '"alpha": 4.0'), "digest: expected [0-9a-f]{16}, that of its config"),
    (lambda text: text[: len(text) // 2], "write it again"),
    (lambda text: text.replace('"seed"', '"sede"', 1), "seed.*missing"),
])  # fmt: skip
def test_a_plan_that_was_changed_by_hand_is_refused(planned, tmp_path, damage, message):
    planned()
    path = tmp_path / "plan/runs/glyphs-pfml-0.0-0.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(ConfigError, match=message) as error:
        read_run("glyphs-pfml-0.0-0", tmp_path / "plan")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
